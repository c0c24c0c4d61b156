"""Requests of boxes and answers of CAs: what is taken, and in which words the rest is refused."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from chassis.certificates import make_ca, make_key, sign_csr
from contracts.names import RequestRefusal
from control_plane.names.signing import ChainUnusable, RequestRefused, check_addresses, check_chain, check_request
from tests.control_plane.names.fakes import csr_for, inner_csr

HOST = "a1.cdn.test"
NOW = 1_700_000_000.0


def rsa_request() -> str:
    key = rsa.generate_private_key(65537, 2048)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    names = x509.SubjectAlternativeName([x509.DNSName(HOST)])
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    return signed.public_bytes(Encoding.PEM).decode()


def damaged() -> str:
    """Another name under the signature of the first."""
    der = x509.load_pem_x509_csr(csr_for("a2.cdn.test").encode()).public_bytes(Encoding.DER)
    loaded = x509.load_der_x509_csr(der.replace(b"a2.cdn.test", HOST.encode()))
    return loaded.public_bytes(Encoding.PEM).decode()


def of_an_odd_kind() -> str:
    """An alternative name of a kind that nobody uses: x400Address (RFC 5280 §4.2.1.6)."""
    odd = x509.UnrecognizedExtension(x509.oid.ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"\x30\x04\xa3\x02\x30\x00")
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return (
        builder.add_extension(odd, critical=False).sign(make_key(), hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    )


def with_two_lists_of_names() -> str:
    """The second made of another extension (issuerAltName), and signed again: no library writes such a request."""
    key = make_key()
    names = [x509.DNSName(HOST), x509.DNSName("a-name-that-makes-it-longer-than-255-bytes.test")]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = builder.add_extension(x509.IssuerAlternativeName(names), critical=False).sign(key, hashes.SHA256())
    inner = made.tbs_certrequest_bytes.replace(b"\x55\x1d\x12", b"\x55\x1d\x11")
    signature = b"\x00" + key.sign(inner, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    outer = inner + algorithm + bytes([0x03, len(signature)]) + signature
    der = b"\x30\x82" + len(outer).to_bytes(2, "big") + outer
    return x509.load_der_x509_csr(der).public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize("csr_pem", [csr_for(HOST), csr_for(HOST.upper()), csr_for(HOST, common=HOST)])
def test_a_request_for_the_box_s_own_name_is_taken(csr_pem: str) -> None:
    check_request(csr_pem, HOST)


@pytest.mark.parametrize(
    ("csr_pem", "why", "words"),
    [
        ("nonsense", RequestRefusal.NOT_A_REQUEST, "no signing request"),
        (damaged(), RequestRefusal.UNSIGNED, "not signed by its own key"),
        (rsa_request(), RequestRefusal.KEY, "not for an EC key on P-256"),
        (csr_for(), RequestRefusal.NO_NAME, "no subject alternative name"),
        (csr_for(common=HOST), RequestRefusal.NO_NAME, "no subject alternative name"),
        (csr_for("a2.cdn.test"), RequestRefusal.FOREIGN_NAME, "names a2.cdn.test; this box is a1.cdn.test only"),
        (csr_for(HOST, "bank.example"), RequestRefusal.FOREIGN_NAME, "bank.example"),
        (csr_for("*.cdn.test"), RequestRefusal.FOREIGN_NAME, r"\*.cdn.test"),
        (csr_for(HOST, common="bank.example"), RequestRefusal.FOREIGN_NAME, "bank.example"),
        (of_an_odd_kind(), RequestRefusal.NOT_A_REQUEST, "malformed: .*x400"),
        (with_two_lists_of_names(), RequestRefusal.NOT_A_REQUEST, "malformed: Duplicate"),
        (inner_csr(), RequestRefusal.OTHER_IDENTITY, "lowtide://appliance/a1"),
    ],
)
def test_any_other_request_is_refused_in_words(csr_pem: str, why: RequestRefusal, words: str) -> None:
    with pytest.raises(RequestRefused, match=words) as refused:
        check_request(csr_pem, HOST)
    assert refused.value.why is why


@given(st.text(max_size=200) | st.text(max_size=60).map(lambda text: f"-----BEGIN CERTIFICATE REQUEST-----\n{text}"))
def test_no_text_raises_anything_but_the_refusal(text: str) -> None:
    with pytest.raises(RequestRefused):
        check_request(text, HOST)


@pytest.mark.parametrize("good", [("192.0.2.1",), ("192.0.2.1", "2001:db8::1"), ("127.1.0.11",)])
def test_addresses_that_can_be_dialled_are_taken(good: tuple[str, ...]) -> None:
    check_addresses(good)


@pytest.mark.parametrize(
    "wrong", [(), ("0.0.0.0",), ("::",), ("224.0.0.1",), ("fe80::1%eth0",), ("a1.cdn.test",), ("192.0.2.1",) * 9]
)
def test_addresses_that_no_record_can_carry_are_refused(wrong: tuple[str, ...]) -> None:
    with pytest.raises(RequestRefused):
        check_addresses(wrong)


def chain(csr_pem: str, name: str = HOST, days: float = 1.0, at: float = NOW) -> str:
    key = make_key()
    ca_pem = make_ca(key, "CA", at)
    leaf = sign_csr(csr_pem, ca_pem=ca_pem, ca_key=key, uri="lowtide://x/y", addresses=(name,), now=at, days=days)
    return leaf + ca_pem


def test_a_chain_for_the_request_says_how_long_it_is_good() -> None:
    csr_pem = csr_for(HOST)
    valid = check_chain(chain(csr_pem), csr_pem, HOST, NOW)
    assert valid.begins_at <= NOW
    assert valid.expires_at == NOW + 86400.0


def test_a_chain_that_is_not_for_the_request_is_refused_in_words() -> None:
    csr_pem = csr_for(HOST)
    with pytest.raises(ChainUnusable, match="another key"):
        check_chain(chain(csr_for(HOST)), csr_pem, HOST, NOW)
    with pytest.raises(ChainUnusable, match=r"does not name a1\.cdn\.test"):
        check_chain(chain(csr_pem, "a2.cdn.test"), csr_pem, HOST, NOW)
    with pytest.raises(ChainUnusable, match="expired already"):
        check_chain(chain(csr_pem), csr_pem, HOST, NOW + 2 * 86400.0)
    with pytest.raises(ChainUnusable, match="not valid yet"):
        check_chain(chain(csr_pem), csr_pem, HOST, NOW - 2 * 86400.0)
    assert check_chain(chain(csr_pem), csr_pem, HOST, NOW - 60.0).expires_at == NOW + 86400.0
    with pytest.raises(ChainUnusable, match="holds no certificate"):
        check_chain("sorry", csr_pem, HOST, NOW)
