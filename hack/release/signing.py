"""Signatures with a PGP key from a file: helm's provenance takes no other kind, and gpg is in every distribution."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Key:
    """`keyring` is what `gpg --export-secret-keys` writes; the key in it may have a passphrase, which is in a file."""

    keyring: Path
    passphrase_file: Path | None = None

    def name(self) -> str:
        """The first user id of the key."""
        return self._column("uid", 9)

    def fingerprint(self) -> str:
        return self._column("fpr", 9)

    def public(self) -> str:
        """The public key, as text."""
        with self._gpg() as gpg:
            return _output([*gpg, "--armor", "--export"])

    def sign(self, path: Path) -> Path:
        """Writes a signature beside the file."""
        signature = path.with_name(f"{path.name}.asc")
        signature.unlink(missing_ok=True)
        with self._gpg() as gpg:
            _output([*gpg, "--armor", "--detach-sign", "--output", str(signature), str(path)])
        return signature

    def helm_options(self) -> list[str]:
        """What `helm package` is given to sign."""
        passphrase = [f"--passphrase-file={self.passphrase_file}"] if self.passphrase_file else []
        return ["--sign", f"--keyring={self.keyring}", f"--key={self.name()}", *passphrase]

    def _column(self, record: str, number: int) -> str:
        with self._gpg() as gpg:
            listed = _output([*gpg, "--list-secret-keys", "--with-colons"])
        for line in listed.splitlines():
            fields = line.split(":")
            if fields[0] == record:
                return fields[number]
        raise ValueError(f"{self.keyring} has no secret key: write it with `gpg --export-secret-keys`")

    @contextmanager
    def _gpg(self) -> Iterator[list[str]]:
        """gpg with nothing but this key, and gone afterwards with its agent."""
        passphrase = self.passphrase_file or Path("/dev/null")
        with tempfile.TemporaryDirectory(prefix="gpg-") as home:
            options = ["--homedir", home, "--batch", "--quiet", "--pinentry-mode=loopback"]
            gpg = [shutil.which("gpg") or "gpg", *options, f"--passphrase-file={passphrase}"]
            try:
                _output([*gpg, "--import", str(self.keyring)])
                yield gpg
            finally:
                subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False, capture_output=True)


def _output(command: list[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"gpg did not {command[-2].lstrip('-')}: {done.stderr.strip()}")
    return done.stdout
