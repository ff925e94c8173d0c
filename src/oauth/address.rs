//! Classes of network addresses, so that an address that somebody else named can't lead inside.
//!
//! A server that a person configured may stand anywhere. What *it* names (metadata documents,
//! registration endpoints) must not reach further inside than itself.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The internet.
    Public,
    /// A private network (RFC 1918, RFC 4193, RFC 6598).
    Private,
    /// The local link (RFC 3927, RFC 4291).
    LinkLocal,
    /// This machine.
    Loopback,
    /// A service that gives a cloud machine its credentials.
    Metadata,
    /// Nothing that a client connects to: multicast, reserved, unspecified.
    Unusable,
}

/// Metadata services that lie at addresses of another class.
const METADATA_V4: &[Ipv4Addr] = &[
    Ipv4Addr::new(169, 254, 169, 254), // AWS, Azure, GCP, OpenStack
    Ipv4Addr::new(169, 254, 170, 2),   // AWS ECS
    Ipv4Addr::new(169, 254, 170, 23),  // AWS EKS
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle
    Ipv4Addr::new(168, 63, 129, 16),   // Azure
];
const METADATA_V6: &[Ipv6Addr] = &[
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254), // AWS
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0023), // AWS EKS
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254), // GCP
];

impl Class {
    /// The class of an address. An IPv6 address that stands for an IPv4 one has the class of that.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => match embedded(address) {
                Some(inner) => Self::of_v4(inner),
                None => Self::of_v6(address),
            },
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let [a, b, c, _] = address.octets();
        if METADATA_V4.contains(&address) {
            return Class::Metadata;
        }
        match (a, b, c) {
            (127, ..) => Class::Loopback,
            (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Class::Private,
            (169, 254, _) => Class::LinkLocal,
            (0 | 224.., ..) | (192, 0, 0) | (198, 18..=19, _) => Class::Unusable,
            _ => Class::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        if METADATA_V6.contains(&address) {
            return Class::Metadata;
        }
        match address.segments()[0] {
            _ if address.is_loopback() => Class::Loopback,
            0xfc00..=0xfdff => Class::Private,
            // With the site-local addresses that RFC 3879 took back.
            0xfe80..=0xfeff => Class::LinkLocal,
            0x2000..=0x3fff => Class::Public,
            _ => Class::Unusable,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Public => "a public address",
            Class::Private => "an address of a private network",
            Class::LinkLocal => "a link-local address",
            Class::Loopback => "an address of this machine",
            Class::Metadata => "the address of a cloud metadata service",
            Class::Unusable => "an address that no server has",
        })
    }
}

/// The IPv4 address inside a mapped (RFC 4291), translated (RFC 6052, RFC 8215) or 6to4 (RFC 3056)
/// one.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => of(high, low),
        [0x64, 0xff9b, 0 | 1, _, _, _, high, low] => of(high, low),
        [0x2002, high, low, ..] => of(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_its_class() {
        let expected: &[(Class, &[&str])] = &[
            (
                Class::Public,
                &["8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.0.1"],
            ),
            (
                Class::Public,
                &["2606:4700::1111", "64:ff9b::8.8.8.8", "2002:808:808::1"],
            ),
            (
                Class::Private,
                &["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"],
            ),
            (
                Class::Private,
                &["100.64.0.1", "fd12::1", "::ffff:10.0.0.1", "2002:a00:1::"],
            ),
            (
                Class::LinkLocal,
                &["169.254.1.1", "fe80::1", "fec0::1", "::ffff:169.254.1.1"],
            ),
            (
                Class::Loopback,
                &["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"],
            ),
            (
                Class::Loopback,
                &["64:ff9b::127.0.0.1", "64:ff9b:1::127.0.0.1"],
            ),
            (
                Class::Metadata,
                &["169.254.169.254", "169.254.170.2", "100.100.100.200"],
            ),
            (
                Class::Metadata,
                &["fd00:ec2::254", "::ffff:169.254.169.254", "168.63.129.16"],
            ),
            (
                Class::Unusable,
                &["0.0.0.0", "224.0.0.1", "255.255.255.255", "198.18.0.1"],
            ),
            (
                Class::Unusable,
                &["::", "ff02::1", "240.0.0.1", "::ffff:0.0.0.0", "100::1"],
            ),
        ];
        for (class, addresses) in expected {
            for address in *addresses {
                assert_eq!(Class::of(address.parse().unwrap()), *class, "{address}");
            }
        }
    }

    #[test]
    fn the_edges_of_the_ranges() {
        let class = |text: &str| Class::of(text.parse().unwrap());
        for (address, expected) in [
            ("9.255.255.255", Class::Public),
            ("11.0.0.1", Class::Public),
            ("126.255.255.255", Class::Public),
            ("128.0.0.1", Class::Public),
            ("100.127.255.255", Class::Private),
            ("100.128.0.1", Class::Public),
            ("169.253.0.1", Class::Public),
            ("192.0.0.1", Class::Unusable),
            ("192.0.1.1", Class::Public),
            ("192.167.0.1", Class::Public),
            ("198.17.0.1", Class::Public),
            ("198.19.255.255", Class::Unusable),
            ("198.20.0.1", Class::Public),
            ("223.255.255.255", Class::Public),
            ("fbff::1", Class::Unusable),
            ("fc00::1", Class::Private),
            ("fdff::1", Class::Private),
            ("fe7f::1", Class::Unusable),
            ("fe80::1", Class::LinkLocal),
            ("feff::1", Class::LinkLocal),
            ("1fff::1", Class::Unusable),
            ("2000::1", Class::Public),
            ("3fff::1", Class::Public),
            ("4000::1", Class::Unusable),
            ("64:ff9b:2::8.8.8.8", Class::Unusable),
            ("192.0.0.192", Class::Metadata),
            ("169.254.170.23", Class::Metadata),
            ("fd00:ec2::23", Class::Metadata),
            ("fd20:ce::254", Class::Metadata),
        ] {
            assert_eq!(class(address), expected, "{address}");
        }
    }

    #[test]
    fn each_class_is_told_apart() {
        let words = [
            (Class::Public, "a public address"),
            (Class::Private, "an address of a private network"),
            (Class::LinkLocal, "a link-local address"),
            (Class::Loopback, "an address of this machine"),
            (Class::Metadata, "the address of a cloud metadata service"),
            (Class::Unusable, "an address that no server has"),
        ];
        for (class, text) in words {
            assert_eq!(class.to_string(), text);
        }
    }
}
