"""Peer records as docs/discovery.md and libp2p's RFC 0002 and RFC 0003 have them, made by hand: nothing of libatlas is in here."""
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
DOMAIN = b"libp2p-peer-record"
PAYLOAD_TYPE = b"\x03\x01"


def uvarint(value):
    """Multiformats unsigned varint, which is protobuf's."""
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number, data):
    """A protobuf field: bytes, or a number."""
    if isinstance(data, int):
        return uvarint(number << 3) + uvarint(data)
    return uvarint(number << 3 | 2) + uvarint(len(data)) + data


def base58(data):
    """base58btc."""
    value = int.from_bytes(data, "big")
    out = ""
    while value > 0:
        value, digit = divmod(value, 58)
        out = ALPHABET[digit] + out
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + out


def quic_address(ip, port):
    """/ip4/IP/udp/PORT/quic-v1"""
    return b"\x04" + bytes(int(part) for part in ip.split(".")) + uvarint(273) + port.to_bytes(2, "big") + uvarint(461)


class Node:
    """A key, and records that it signs."""

    def __init__(self, seed):
        self.key = Ed25519PrivateKey.from_private_bytes(seed)
        public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public = b"\x08\x01\x12\x20" + public  # protobuf PublicKey, Ed25519
        self.binary_id = b"\x00\x24" + self.public  # identity multihash
        self.id = base58(self.binary_id)

    def record(self, seq, issued, addresses=(), offers=0, lifetime=3600, tag=PAYLOAD_TYPE):
        """A signed envelope."""
        payload = field(1, self.binary_id) + field(2, seq)
        for address in addresses:
            payload += field(3, field(1, address))
        if offers:
            payload += field(100, offers)
        payload += field(101, issued)
        if lifetime != 3600:
            payload += field(102, lifetime)
        signed = b"".join(uvarint(len(part)) + part for part in (DOMAIN, tag, payload))
        return field(1, self.public) + field(2, tag) + field(3, payload) + field(5, self.key.sign(signed))
