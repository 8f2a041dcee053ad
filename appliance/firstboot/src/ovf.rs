//! The OVF form: `ovf-env.xml`, which `ESXi` and `vCenter` make of the properties of an OVA (DSP0243, section 9.7).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::network::{self, Match, Network};
use crate::nocloud::from_base64;
use crate::seed::Seed;

/// The seed in a folder that has one of this form.
pub fn read(folder: &Path) -> Option<Seed> {
    let text = fs::read_to_string(folder.join("ovf-env.xml")).ok()?;
    let mut seed = Seed { text, ..Seed::default() };
    match properties(&seed.text) {
        Ok(properties) => take(&mut seed, &properties),
        Err(error) => seed.problem(format!("ovf-env.xml: {error}")),
    }
    Some(seed)
}

/// The properties that have a value.
fn properties(text: &str) -> Result<BTreeMap<String, String>, roxmltree::Error> {
    let document = roxmltree::Document::parse(text)?;
    let of = |node: roxmltree::Node, name: &str| {
        let mut attributes = node.attributes().filter(|attribute| attribute.name() == name);
        attributes.next().map(|attribute| attribute.value().trim().to_owned())
    };
    let all = document.descendants().filter(|node| node.tag_name().name() == "Property");
    Ok(all.filter_map(|node| of(node, "key").zip(of(node, "value"))).filter(|(_, value)| !value.is_empty()).collect())
}

fn take(seed: &mut Seed, properties: &BTreeMap<String, String>) {
    if let Some(name) = properties.get("hostname") {
        seed.take_hostname(name);
    }
    // One line for all of them is what `vCenter`'s form has room for.
    for key in properties.get("ssh_keys").iter().flat_map(|keys| keys.split(',')) {
        seed.take_key(key);
    }
    for (key, path) in [("rules", "/etc/vfw/rules.fw"), ("settings", "/etc/vfw/vfw.toml")] {
        match properties.get(key).map(|text| from_base64(text)) {
            Some(Ok(content)) => seed.take_file(path, content),
            Some(Err(error)) => seed.problem(format!("property `{key}`: {error}")),
            None => {}
        }
    }
    match management(properties) {
        Ok(network) => seed.network = Some(network),
        Err(error) => seed.problem(format!("properties of the management interface: {error}")),
    }
}

/// DHCP unless there is an address.
fn management(properties: &BTreeMap<String, String>) -> Result<Network, String> {
    let list = |key| properties.get(key).map_or("", String::as_str).split(',').filter(|text| !text.is_empty());
    let addresses = list("address").map(network::network).collect::<Result<Vec<_>, _>>()?;
    let network = Network {
        interface: Match::Name("eth0".to_owned()),
        dhcp: addresses.is_empty(),
        addresses,
        gateways: list("gateway").map(network::address).collect::<Result<_, _>>()?,
        dns: list("dns").map(network::address).collect::<Result<_, _>>()?,
    };
    network.check()
}

#[cfg(test)]
mod tests {
    use super::{properties, take};
    use crate::seed::Seed;

    fn seed(values: &str) -> Seed {
        let text = format!(
            "<Environment xmlns=\"http://schemas.dmtf.org/ovf/environment/1\" \
             xmlns:oe=\"http://schemas.dmtf.org/ovf/environment/1\"><PropertySection>{values}</PropertySection></Environment>"
        );
        let mut seed = Seed::default();
        take(&mut seed, &properties(&text).expect("XML"));
        seed
    }

    #[test]
    fn takes_properties() {
        let found = seed(
            r#"<Property oe:key="hostname" oe:value="edge-1"/><Property oe:key="address" oe:value="192.0.2.10/24"/>
               <Property oe:key="gateway" oe:value="192.0.2.1"/><Property oe:key="dns" oe:value=""/>
               <Property oe:key="ssh_keys" oe:value="ssh-ed25519 AAAA one, ssh-ed25519 AAAA two"/>
               <Property oe:key="rules" oe:value="ZGVmYXVsdCBkcm9wCg=="/>"#,
        );
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        assert_eq!((found.hostname.as_deref(), found.keys.len()), (Some("edge-1"), 2));
        assert_eq!(found.files, [("rules.fw".to_owned(), "default drop\n".to_owned())]);
        let network = found.network.expect("a network");
        assert!(!network.dhcp && network.gateways.len() == 1 && network.dns.is_empty());
    }

    #[test]
    fn has_dhcp_without_an_address_and_says_what_is_wrong() {
        assert!(seed("").network.is_some_and(|network| network.dhcp));
        let found = seed(r#"<Property oe:key="address" oe:value="x"/><Property oe:key="rules" oe:value="*"/>"#);
        assert_eq!((found.problems.len(), found.network), (2, None));
    }
}
