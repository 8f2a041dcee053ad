//! What a word says: number, address, prefix, range or name.

use std::net::IpAddr;

use nom::branch::alt;
use nom::bytes::complete::take_while1;
use nom::character::complete::{char, digit1, satisfy};
use nom::combinator::{all_consuming, map, map_opt, map_res, opt, recognize};
use nom::sequence::{pair, preceded, separated_pair};
use nom::{IResult, Parser as _};

use super::limits;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Literal<'a> {
    Number(u32),
    Numbers(u32, u32),
    Address(IpAddr),
    /// The length is not checked.
    Prefix(IpAddr, u32),
    Addresses(IpAddr, IpAddr),
    Name(&'a str),
    Unknown,
}

/// Reads a word. Numbers too large for 32 bits are `u32::MAX`, which no place accepts.
pub(crate) fn read(word: &str) -> Literal<'_> {
    let numbers = map(separated_pair(number, char('-'), number), |(a, b)| Literal::Numbers(a, b));
    let addresses = map(separated_pair(address, char('-'), address), |(a, b)| Literal::Addresses(a, b));
    let network = map(pair(address, opt(preceded(char('/'), number))), |(address, length)| match length {
        Some(length) => Literal::Prefix(address, length),
        None => Literal::Address(address),
    });
    let plain = map(number, Literal::Number);
    let mut any = alt((
        all_consuming(numbers),
        all_consuming(plain),
        all_consuming(addresses),
        all_consuming(network),
        map(all_consuming(name), Literal::Name),
    ));
    any.parse(word).map_or(Literal::Unknown, |(_, literal)| literal)
}

fn number(input: &str) -> IResult<&str, u32> {
    map(digit1, |digits: &str| digits.parse().unwrap_or(u32::MAX)).parse(input)
}

fn address(input: &str) -> IResult<&str, IpAddr> {
    map_res(take_while1(|c: char| c.is_ascii_hexdigit() || c == '.' || c == ':'), str::parse).parse(input)
}

fn name(input: &str) -> IResult<&str, &str> {
    let first = satisfy(|c| c.is_ascii_alphabetic() || c == '_');
    let rest = opt(take_while1(|c: char| c.is_ascii_alphanumeric() || "_.-".contains(c)));
    map_opt(recognize(pair(first, rest)), |name: &str| (name.len() <= limits::NAME).then_some(name)).parse(input)
}

/// Whether the kernel could have an interface of this name.
pub(crate) fn is_interface(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && name.chars().all(|c| c.is_ascii_graphic() && !"/:\"\\#{}".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_what_they_look_like() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        for (word, literal) in [
            ("80", Literal::Number(80)),
            ("8000-8100", Literal::Numbers(8000, 8100)),
            ("99999999999", Literal::Number(u32::MAX)),
            ("10.0.0.1", Literal::Address(ip("10.0.0.1"))),
            ("fd00::/8", Literal::Prefix(ip("fd00::"), 8)),
            ("10.0.0.1/99", Literal::Prefix(ip("10.0.0.1"), 99)),
            ("10.0.0.1-10.0.0.9", Literal::Addresses(ip("10.0.0.1"), ip("10.0.0.9"))),
            ("fd00::1-fd00::9", Literal::Addresses(ip("fd00::1"), ip("fd00::9"))),
            ("echo-request", Literal::Name("echo-request")),
            ("fe", Literal::Name("fe")),
            ("10.0.0.300", Literal::Unknown),
            ("10.0.0.01", Literal::Unknown),
            ("10net", Literal::Unknown),
            ("fe80::1%eth0", Literal::Unknown),
            ("-", Literal::Unknown),
        ] {
            assert_eq!(read(word), literal, "{word}");
        }
        assert_eq!(read(&"a".repeat(limits::NAME + 1)), Literal::Unknown);
    }
}
