"""PGP keys for tests of releases."""

import subprocess
from pathlib import Path


def keyring(folder: Path, name: str, *, passphrase: Path | None = None) -> Path:
    """The secret keyring of a fresh key of that name, with the passphrase in that file, or with none."""
    home, made = folder / "gpg", folder / "secret.gpg"
    home.mkdir(mode=0o700)
    words = "--passphrase=" if passphrase is None else f"--passphrase-file={passphrase}"
    gpg: list[str | Path] = ["/usr/bin/env", "gpg", "--homedir", home, "--batch", "--quiet", "--pinentry-mode=loopback"]
    try:
        for action in (["--quick-gen-key", name, "rsa2048", "sign", "1d"], ["--output", made, "--export-secret-keys"]):
            subprocess.run([*gpg, words, *action], check=True, capture_output=True)
    finally:
        subprocess.run(
            ["/usr/bin/env", "gpgconf", "--homedir", home, "--kill", "all"], check=False, capture_output=True
        )
    return made
