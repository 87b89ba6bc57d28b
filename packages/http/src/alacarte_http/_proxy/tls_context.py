"""The proxy's TLS context, loaded from files."""

from __future__ import annotations

import os
import ssl

from alacarte.errors import ConfigError

from ..config import HTTPOptions

__all__ = ["server_context"]


def server_context(options: HTTPOptions) -> ssl.SSLContext | None:
    """Return the TLS context for `HTTPOptions`, None without TLS.

    Raises:
        ConfigError: A file is missing or invalid; the message names the option.
    """
    if options.ssl_certfile is None:
        return None
    for name in ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs"):
        _check_readable(name, getattr(options, name))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load_pair(context, options)
    if options.ssl_ca_certs is not None:
        try:
            context.load_verify_locations(options.ssl_ca_certs)
        except ssl.SSLError:
            raise _file_error(
                "ssl_ca_certs", options.ssl_ca_certs, "holds no certificate in PEM format"
            ) from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _check_readable(name: str, path: str | None) -> None:
    if path is None:
        return
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise _file_error(name, path, f"cannot be read ({os.strerror(error.errno or 0)})") from None


def _load_pair(context: ssl.SSLContext, options: HTTPOptions) -> None:
    asked = False

    def password() -> str:
        # Without a password function, OpenSSL would prompt at the terminal.
        nonlocal asked
        asked = True
        return options.ssl_keyfile_password or ""

    certificate, key = options.ssl_certfile, options.ssl_keyfile
    assert certificate is not None
    try:
        context.load_cert_chain(certificate, key, password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise _file_error(
                "ssl_keyfile", key, f"is not the key of ssl_certfile={certificate!r}"
            ) from None
        if asked and options.ssl_keyfile_password is None:
            raise _file_error(
                "ssl_keyfile", key, "is encrypted. Set ssl_keyfile_password"
            ) from None
        if asked:
            raise ConfigError(
                f"http: ssl_keyfile_password does not decrypt ssl_keyfile={key!r}."
            ) from None
        # OpenSSL does not name the file that it could not read: load the certificate alone.
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(certificate)
        except ssl.SSLError:
            raise _file_error(
                "ssl_certfile", certificate, "holds no certificate in PEM format"
            ) from None
        raise _file_error("ssl_keyfile", key, "holds no private key in PEM format") from None


def _file_error(option: str, path: str | None, problem: str) -> ConfigError:
    return ConfigError(f"http: {option}={path!r} {problem}.")
