//! The `NoCloud` form: files `user-data`, `meta-data` and `network-config` of cloud-init, of which the appliance knows the keys
//! that it has a use for.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::network;
use crate::seed::Seed;

#[derive(Deserialize, Default)]
#[serde(default)]
struct UserData {
    hostname: Option<String>,
    ssh_authorized_keys: Vec<String>,
    users: Vec<User>,
    write_files: Vec<WriteFile>,
    #[serde(flatten)]
    #[expect(clippy::zero_sized_map_values, reason = "what serde collects keys in that are not known")]
    rest: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum User {
    Described {
        #[serde(default)]
        ssh_authorized_keys: Vec<String>,
    },
    Named(IgnoredAny),
}

#[derive(Deserialize)]
struct WriteFile {
    path: String,
    #[serde(default)]
    content: String,
    encoding: Option<String>,
}

#[derive(Deserialize, Default)]
struct MetaData {
    #[serde(rename = "local-hostname")]
    local_hostname: Option<String>,
}

/// The seed in a folder that has one of this form.
pub fn read(folder: &Path) -> Option<Seed> {
    let [user, meta, network] = ["user-data", "meta-data", "network-config"].map(|name| folder.join(name));
    if !user.exists() && !meta.exists() {
        return None;
    }
    let mut seed = Seed::default();
    let mut part = |name: &str, path: &Path, take: fn(&mut Seed, &str) -> Result<(), String>| {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => return seed.problem(format!("{name} of the seed cannot be read: {error}")),
        };
        seed.text += &text;
        if let Err(error) = take(&mut seed, &text) {
            seed.problem(format!("{name} of the seed: {error}"));
        }
    };
    part("network-config", &network, take_network);
    part("meta-data", &meta, take_meta_data);
    part("user-data", &user, take_user_data);
    Some(seed)
}

fn take_network(seed: &mut Seed, text: &str) -> Result<(), String> {
    let (network, others) = network::from_cloud_config(text)?;
    seed.network = Some(network);
    seed.notes.extend(others.iter().map(|name| format!("not used: `{name}` in network-config, which is vfw's")));
    Ok(())
}

fn take_meta_data(seed: &mut Seed, text: &str) -> Result<(), String> {
    let data: Option<MetaData> = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    if let Some(name) = data.unwrap_or_default().local_hostname {
        seed.take_hostname(&name);
    }
    Ok(())
}

fn take_user_data(seed: &mut Seed, text: &str) -> Result<(), String> {
    if !text.starts_with("#cloud-config") {
        return Err("its first line must be `#cloud-config`".to_owned());
    }
    let data: Option<UserData> = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let data = data.unwrap_or_default();
    if let Some(name) = data.hostname {
        seed.take_hostname(&name);
    }
    let of_users = data.users.iter().flat_map(|user| match user {
        User::Described { ssh_authorized_keys } => ssh_authorized_keys.as_slice(),
        User::Named(_) => &[],
    });
    for key in data.ssh_authorized_keys.iter().chain(of_users) {
        seed.take_key(key);
    }
    for file in data.write_files {
        match decode(&file) {
            Ok(content) => seed.take_file(&file.path, content),
            Err(error) => seed.problem(format!("file `{}`: {error}", file.path)),
        }
    }
    seed.notes.extend(data.rest.keys().map(|key| format!("not used: `{key}` in user-data")));
    Ok(())
}

fn decode(file: &WriteFile) -> Result<String, String> {
    match file.encoding.as_deref() {
        None | Some("text/plain") => Ok(file.content.clone()),
        Some("b64" | "base64") => from_base64(&file.content),
        Some(other) => Err(format!("the encoding `{other}` is not known; use b64")),
    }
}

/// Text in base64, with or without line ends.
pub fn from_base64(text: &str) -> Result<String, String> {
    let text: String = text.split_whitespace().collect();
    let bytes = STANDARD.decode(text).map_err(|error| format!("no base64: {error}"))?;
    String::from_utf8(bytes).map_err(|_| "no text in UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{UserData, from_base64, take_network, take_user_data};
    use crate::network::Match;
    use crate::seed::Seed;

    const USER_DATA: &str = "#cloud-config
hostname: edge-1
users:
  - default
  - name: root
    ssh_authorized_keys:
      - ssh-ed25519 AAAA two
ssh_authorized_keys: [ssh-ed25519 AAAA one]
package_upgrade: true
write_files:
  - path: /etc/vfw/rules.fw
    content: |
      default drop
  - path: /etc/vfw/vfw.toml
    encoding: b64
    content: bW9kZSA9ICJ0YyIK
";

    #[test]
    fn takes_what_it_knows_and_names_the_rest() {
        let mut seed = Seed::default();
        take_user_data(&mut seed, USER_DATA).expect("good");
        assert_eq!(seed.hostname.as_deref(), Some("edge-1"));
        assert_eq!(seed.keys, ["ssh-ed25519 AAAA one", "ssh-ed25519 AAAA two"]);
        let files = [("rules.fw", "default drop\n"), ("vfw.toml", "mode = \"tc\"\n")];
        assert_eq!(seed.files, files.map(|(name, text)| (name.to_owned(), text.to_owned())));
        assert_eq!(seed.notes, ["not used: `package_upgrade` in user-data"]);
        assert!(seed.problems.is_empty(), "{:?}", seed.problems);
    }

    #[test]
    fn says_what_is_wrong_and_takes_the_others() {
        let text =
            USER_DATA.replace("/etc/vfw/vfw.toml", "/etc/shadow").replace("AAAA one", "").replace("edge-1", "-e");
        let mut seed = Seed::default();
        take_user_data(&mut seed, &text).expect("in part");
        assert_eq!((seed.keys.len(), seed.files.len(), seed.hostname), (1, 1, None));
        assert_eq!(
            seed.problems,
            [
                "PROBLEM: `-e` is no host name",
                "PROBLEM: `ssh-ed25519...` is no SSH public key",
                "PROBLEM: file `/etc/shadow`: a seed may write /etc/vfw/vfw.toml and /etc/vfw/*.fw",
            ]
        );
        for broken in
            ["hostname: x\n", "#cloud-config\nhostname: [\n", "#cloud-config\n- a\n", "#cloud-config\nusers: 3\n"]
        {
            assert!(take_user_data(&mut Seed::default(), broken).is_err(), "{broken}");
        }
        assert!(from_base64("====").is_err() && from_base64("//8=").is_err());
        assert!(serde_saphyr::from_str::<UserData>("{}").is_ok());
    }

    #[test]
    fn reads_both_versions_of_network_config() {
        let version_1 = "version: 1
config:
  - type: physical
    name: eth0
    mac_address: '52:54:00:AB:CD:01'
    subnets: [{type: static, address: 192.0.2.10, netmask: 255.255.255.0, gateway: 192.0.2.1}]
  - {type: nameserver, address: 192.0.2.53}
";
        let version_2 = "network:
  version: 2
  ethernets:
    mgmt:
      match: {macaddress: '52:54:00:ab:cd:01'}
      addresses: [192.0.2.10/24]
      routes: [{to: default, via: 192.0.2.1}]
      nameservers: {addresses: [192.0.2.53]}
    other: {dhcp4: true}
";
        let [one, two] = [version_1, version_2].map(|text| {
            let mut seed = Seed::default();
            take_network(&mut seed, text).expect("good");
            seed.network.expect("a network")
        });
        assert_eq!(one, two);
        assert_eq!(one.interface, Match::Mac("52:54:00:ab:cd:01".to_owned()));
        let text = one.to_networkd();
        for line in
            ["MACAddress=52:54:00:ab:cd:01", "DHCP=no", "Address=192.0.2.10/24", "Gateway=192.0.2.1", "DNS=192.0.2.53"]
        {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }

    #[test]
    fn refuses_what_would_make_it_unreachable() {
        for (text, says) in [
            ("version: 3\n", "version"),
            ("version: 2\n", "names no interface"),
            ("version: 2\nethernets: {eth0: {}}\n", "neither DHCP nor an address"),
            ("version: 2\nethernets: {eth0: {addresses: [192.0.2.10]}}\n", "no address with a prefix"),
            ("version: 2\nethernets: {eth0: {dhcp4: true, gateway4: here}}\n", "`here` is no address"),
            ("version: 2\nethernets: {eth0: {dhcp4: true, adresses: []}}\n", "adresses"),
            ("version: 2\nethernets: {\"e\\nName=x\": {dhcp4: true}}\n", "no name of an interface"),
            ("version: 2\nethernets: {e: {match: {macaddress: '1:2'}, dhcp4: true}}\n", "no Ethernet address"),
        ] {
            let error = take_network(&mut Seed::default(), text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
