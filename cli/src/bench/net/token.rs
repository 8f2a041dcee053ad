//! The secret that both ends of a measurement hold, and proofs that they hold it. It never goes over the wire.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::error::NetError;

/// Least and most bytes of a token.
const LENGTHS: [usize; 2] = [16, 1024];
/// Bytes of the proof that a data connection begins with: its number and a tag.
pub const DATA_PROOF: usize = 32;
/// Bytes of the number in it.
const NUMBER: usize = 8;

/// 32 bytes, in messages 64 hexadecimal digits: a challenge, or a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Word(pub [u8; 32]);

impl Word {
    /// Random bytes that nobody can foresee.
    pub fn random() -> Result<Self, NetError> {
        let mut bytes = [0; 32];
        match getrandom::fill(&mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            Err(error) => Err(NetError::Broken { what: "no random numbers", source: error.into() }),
        }
    }
}

impl From<Word> for String {
    fn from(word: Word) -> Self {
        use std::fmt::Write as _;
        word.0.iter().fold(Self::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl TryFrom<String> for Word {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut bytes = [0; 32];
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return Err("64 hexadecimal digits are needed");
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let digit = |digit: u8| char::from(digit).to_digit(16).ok_or("not a hexadecimal digit");
            *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        Ok(Self(bytes))
    }
}

/// The secret.
#[derive(Clone)]
pub struct Token(Vec<u8>);

/// The random numbers of one conversation: one of each end.
#[derive(Clone, Copy, Debug)]
pub struct Challenges {
    /// The server's.
    pub server: Word,
    /// The client's.
    pub client: Word,
}

impl Token {
    /// Reads a token file. Space around the token does not count.
    pub fn read(path: &Path) -> Result<Self, NetError> {
        let bad = |problem: String| NetError::TokenFile { path: path.to_owned(), problem };
        let shown = path.display();
        let make =
            format!("make one with `(umask 077; head -c 32 /dev/urandom | base64 > {shown})` and copy it to both ends");
        let file = File::open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => bad(format!("there is none; {make}")),
            _ => bad(error.to_string()),
        })?;
        let mode = file.metadata().map_err(|error| bad(error.to_string()))?.mode();
        if mode & 0o077 != 0 {
            return Err(bad(format!("others can read or write it; `chmod 600 {shown}`")));
        }
        let mut bytes = Vec::new();
        // One byte more than fits, to notice a file that is too long.
        let most = LENGTHS[1] as u64 + 1;
        file.take(most).read_to_end(&mut bytes).map_err(|error| bad(error.to_string()))?;
        let token = bytes.trim_ascii();
        if !(LENGTHS[0]..=LENGTHS[1]).contains(&token.len()) {
            let [least, most] = LENGTHS;
            return Err(bad(format!("a token has {least} to {most} bytes, this one {}; {make}", token.len())));
        }
        Ok(Self(token.to_vec()))
    }

    /// A token for ends that share a process.
    pub fn random() -> Result<Self, NetError> {
        Word::random().map(|word| Self(word.0.to_vec()))
    }

    /// A token of these bytes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// What the client sends to prove that it holds the token.
    pub fn client_proof(&self, challenges: &Challenges) -> Word {
        Word(self.mac("vfw-bench 1 client", challenges).finalize().into_bytes().into())
    }

    /// Whether a client proved it.
    pub fn is_client_proof(&self, challenges: &Challenges, proof: &Word) -> bool {
        // In constant time: the answer must not tell how many bytes were right.
        self.mac("vfw-bench 1 client", challenges).verify_slice(&proof.0).is_ok()
    }

    /// What the server sends to prove that it holds the token.
    pub fn server_proof(&self, challenges: &Challenges) -> Word {
        Word(self.mac("vfw-bench 1 server", challenges).finalize().into_bytes().into())
    }

    /// Whether a server proved it.
    pub fn is_server_proof(&self, challenges: &Challenges, proof: &Word) -> bool {
        self.mac("vfw-bench 1 server", challenges).verify_slice(&proof.0).is_ok()
    }

    /// The key for the data connections of this conversation.
    pub fn data_key(&self, challenges: &Challenges) -> DataKey {
        DataKey(self.mac("vfw-bench 1 data", challenges).finalize().into_bytes().into())
    }

    /// One label is no beginning of another and the rest has a fixed length, so no two purposes share an input.
    fn mac(&self, purpose: &str, challenges: &Challenges) -> Hmac<Sha256> {
        keyed(&self.0).chain_update(purpose).chain_update(challenges.server.0).chain_update(challenges.client.0)
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// Proves that a data connection belongs to a measurement.
#[derive(Clone)]
pub struct DataKey([u8; 32]);

impl DataKey {
    /// What data connection `number` begins with.
    pub fn proof(&self, number: u64) -> [u8; DATA_PROOF] {
        let mut proof = [0; DATA_PROOF];
        let (head, tag) = proof.split_at_mut(NUMBER);
        head.copy_from_slice(&number.to_be_bytes());
        let full = keyed(&self.0).chain_update(&*head).finalize().into_bytes();
        tag.copy_from_slice(&full[..DATA_PROOF - NUMBER]);
        proof
    }

    /// The number of a connection that begins with `proof`, if that is one.
    pub fn number(&self, proof: &[u8; DATA_PROOF]) -> Option<u64> {
        let (number, tag) = proof.split_first_chunk::<NUMBER>()?;
        keyed(&self.0).chain_update(number).verify_truncated_left(tag).ok()?;
        Some(u64::from_be_bytes(*number))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const CHALLENGES: Challenges = Challenges { server: Word([1; 32]), client: Word([2; 32]) };

    #[test]
    fn proofs_need_the_token_the_challenges_and_the_side() {
        let token = Token::from_bytes(b"correct horse battery");
        let proof = token.client_proof(&CHALLENGES);
        assert!(token.is_client_proof(&CHALLENGES, &proof));
        assert!(!token.is_server_proof(&CHALLENGES, &proof), "a proof cannot be sent back");
        assert!(!Token::from_bytes(b"correct horse batterx").is_client_proof(&CHALLENGES, &proof));
        let replayed = Challenges { server: Word([3; 32]), ..CHALLENGES };
        assert!(!token.is_client_proof(&replayed, &proof));
    }

    #[test]
    fn data_proofs_are_of_one_conversation() {
        let token = Token::from_bytes(b"correct horse battery");
        let (key, other) = (token.data_key(&CHALLENGES), Challenges { client: Word([9; 32]), ..CHALLENGES });
        let proof = key.proof(77);
        assert_eq!(key.number(&proof), Some(77));
        assert_eq!(token.data_key(&other).number(&proof), None);
        for bit in 0..DATA_PROOF * 8 {
            let mut damaged = proof;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.number(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn words_are_hexadecimal() {
        let word = Word(std::array::from_fn(|index| index as u8 * 7));
        let text = String::from(word);
        assert_eq!(Word::try_from(text.clone()), Ok(word));
        for bad in ["", "00", &text[1..], &format!("{text}0"), &text.replace('0', "g"), &"é".repeat(32)] {
            assert!(Word::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn token_files_are_private_and_long_enough() {
        let path = std::env::temp_dir().join(format!("vfw-token-{}", std::process::id()));
        let problem = |text: &str, mode: u32| {
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set");
            Token::read(&path).map(|token| token.0).map_err(|error| error.to_string())
        };
        assert_eq!(problem(" 0123456789abcdef\n", 0o600), Ok(b"0123456789abcdef".to_vec()));
        assert!(problem("0123456789abcdef", 0o640).is_err_and(|said| said.contains("chmod 600")));
        assert!(problem("0123456789abcde", 0o600).is_err_and(|said| said.contains("this one 15")));
        assert!(problem(&"x".repeat(5000), 0o600).is_err_and(|said| said.contains("16 to 1024 bytes")));
        std::fs::remove_file(&path).expect("removed");
        let missing = Token::read(&path).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(missing.contains("/dev/urandom"), "{missing}");
    }
}
