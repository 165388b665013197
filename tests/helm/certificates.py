"""A certificate as the chart wants one, by openssl, with the authority that it is from."""

from collections.abc import Sequence
from pathlib import Path
from subprocess import run

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")


def openssl(*arguments: str) -> None:
    """Runs it."""
    run(["openssl", *arguments], check=True, capture_output=True)


def issue(directory: Path, names: Sequence[str], addresses: Sequence[str]) -> dict[str, str]:
    """The entries of a secret, as cert-manager writes them."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = directory / "authority.key", directory / "ca.crt"
    request, key, certificate = (directory / name for name in ("request", "tls.key", "tls.crt"))
    signs = ("-addext", "keyUsage=critical,keyCertSign,cRLSign", "-days", "2", "-subj", "/CN=authority")
    openssl("req", "-x509", *KEY, *signs, "-keyout", str(authority[0]), "-out", str(authority[1]))
    known_by = ",".join([*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses)])
    wanted = ("-addext", f"subjectAltName={known_by}", "-addext", "extendedKeyUsage=serverAuth,clientAuth")
    openssl("req", *KEY, *wanted, "-subj", "/CN=polarway", "-keyout", str(key), "-out", str(request))
    signed = ("-CA", str(authority[1]), "-CAkey", str(authority[0]), "-days", "1", "-copy_extensions", "copyall")
    openssl("x509", "-req", "-in", str(request), *signed, "-out", str(certificate))
    return {path.name: path.read_text() for path in (certificate, key, authority[1])}
