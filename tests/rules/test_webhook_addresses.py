"""Where a webhook may go: the corpus of addresses that lead inside, and those that do not."""

import unittest
from ipaddress import ip_address, ip_network

import pytest

from events.addresses import Address, is_public, read_address
from events.errors import AddressRefused

# Each of these leads, or once led in some program, to a place that is nobody's business.
HOSTS_REFUSED = (
    # The machine itself, in every notation that some resolver takes.
    "127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "0", "0.0.0.1", "0x7f000001", "0x7f.1",
    "0x7f.0x0.0x0.0x1", "0177.0.0.1", "017700000001", "2130706433", "127.0.0.01", "00.0.0.0",
    "127.0.0.1.", "localhost", "localhost.", "LOCALHOST", "app.localhost", "localhost.localdomain",
    "①②⑦.⓪.⓪.①", "１２７.０.０.１", "127。0。0。1", "127．0．0．1", "ｌｏｃａｌｈｏｓｔ",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::ffff:0:127.0.0.1]",
    # Private networks, and what is like them.
    "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.1.1",
    "0x0a000001", "167772161", "012.0.0.1", "3232235521", "0xc0a80001", "100.64.0.1",
    "100.127.255.255", "[fc00::1]", "[fd12:3456:789a::1]", "[fec0::1]", "[::ffff:10.0.0.1]",
    "[::ffff:192.168.0.1]", "[::ffff:a9fe:a9fe]",
    # Link-local, and who answers there about the machine.
    "169.254.169.254", "169.254.0.1", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376",
    "169.254.170.2", "[fe80::1]", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[fd00:ec2::254]",
    "metadata.google.internal", "metadata", "instance-data", "100.100.100.200",
    "192.0.0.192",
    # Tunnels and translations that end inside.
    "[64:ff9b::7f00:1]", "[64:ff9b::10.0.0.1]", "[64:ff9b:1::a00:1]", "[2002:7f00:1::]",
    "[2002:a00:1::]", "[2001::1]", "[2001:0:4136:e378:8000:63bf:3fff:fdd2]", "[2001:db8::1]",
    "[2001:10::1]", "[100::1]", "[3fff::1]", "[5f00::1]",
    # Of no use or of everybody's.
    "192.0.2.1", "198.51.100.7", "203.0.113.9", "198.18.0.1", "198.19.255.255", "192.88.99.1",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "[ff02::1]", "[ff0e::1]",
    # Names of the inside, and what is no name.
    "db", "redis", "postgres", "intranet", "printer.local", "vault.internal", "nas.home.arpa",
    "a.intranet", "router.localdomain", "hidden.onion", "exa_mple.123", "example.0x1", "-a.com",
    "a-.com", "a..com", ".com", "example.com.", "a%2e.com", "exa mple.com", "example,com",
)  # fmt: skip
URLS_REFUSED = (
    # Schemes, users, ports and other ways to mean something else.
    "http://example.com/", "ftp://example.com/", "gopher://example.com:443/", "file:///etc/passwd",
    "//example.com/", "example.com", "javascript:alert(1)", "https:example.com", "https:///x",
    "https://", "", "https://user@example.com/", "https://user:secret@example.com/",
    "https://@example.com/", "https://example.com@127.0.0.1/", "https://127.0.0.1:443@example.com/",
    "https://example.com:80/", "https://example.com:22/", "https://example.com:5432/",
    "https://example.com:6379/", "https://example.com:8000/", "https://example.com:0/",
    "https://example.com:65536/", "https://example.com:4a3/", "https://example.com:/",
    "https://example.com/#fragment", "https://example.com\\@127.0.0.1/", "https://example.com/ x",
    "https://example.com/\r\nHost: inside", "https://example.com/\x00", "https://example.com/é",
    "https://[::1/", "https://[v1.a]/", "https://example.com/" + "x" * 2048,
)  # fmt: skip
URLS_TAKEN = {
    "https://example.com": Address("example.com", 443, "/", is_tls=True),
    "https://Example.COM:8443/a?b=c": Address("example.com", 8443, "/a?b=c", is_tls=True),
    "https://bücher.example/x": Address("xn--bcher-kva.example", 443, "/x", is_tls=True),
    "https://8.8.8.8/": Address("8.8.8.8", 443, "/", is_tls=True),
    "https://[2606:4700::1111]/": Address("2606:4700::1111", 443, "/", is_tls=True),
    "https://127.0.0.1.example.com/": Address("127.0.0.1.example.com", 443, "/", is_tls=True),
    "https://a.b-c.example.co.uk/%2e": Address("a.b-c.example.co.uk", 443, "/%2e", is_tls=True),
}


class ReadAddressTests(unittest.TestCase):
    def test_refuses_every_host_that_leads_inside(self):
        assert len(HOSTS_REFUSED) + len(URLS_REFUSED) >= 120
        for host in HOSTS_REFUSED:
            with self.subTest(host), pytest.raises(AddressRefused):
                read_address(f"https://{host}/")

    def test_refuses_whatever_is_not_https_to_a_host(self):
        for url in URLS_REFUSED:
            with self.subTest(url), pytest.raises(AddressRefused):
                read_address(url)

    def test_takes_https_to_the_open_internet(self):
        for url, address in URLS_TAKEN.items():
            with self.subTest(url):
                assert read_address(url) == address

    def test_takes_http_and_any_port_only_for_a_developer(self):
        home = [ip_network("127.0.0.0/8")]

        address = read_address("http://127.0.0.1:9000/x", allows_http=True, allowed=home)

        assert address == Address("127.0.0.1", 9000, "/x", is_tls=False)
        with pytest.raises(AddressRefused):
            read_address("http://127.0.0.1:9000/x", allows_http=True)

    def test_takes_an_address_of_a_network_that_is_allowed_by_name(self):
        warehouse = [ip_network("10.1.2.0/24")]

        assert read_address("https://10.1.2.3/", allowed=warehouse).host == "10.1.2.3"
        with pytest.raises(AddressRefused):
            read_address("https://10.1.3.3/", allowed=warehouse)

    def test_names_the_host_as_it_was_given(self):
        assert read_address("https://example.com/").host_header == "example.com"
        assert read_address("https://example.com:8443/").host_header == "example.com:8443"
        assert read_address("https://[2606:4700::1111]/").host_header == "[2606:4700::1111]"


class IsPublicTests(unittest.TestCase):
    def test_knows_the_open_internet(self):
        for text in ("8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450::1"):
            assert is_public(ip_address(text)), text

    def test_knows_what_translation_hides(self):
        for text in ("64:ff9b::808:808", "2002:808:808::1", "::ffff:8.8.8.8", "::8.8.8.8"):
            assert not is_public(ip_address(text)), text
