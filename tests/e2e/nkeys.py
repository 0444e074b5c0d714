# SPDX-License-Identifier: MIT
"""
Nkeys (NATS ADR-14) and the JWTs that operators, accounts and users are made of (ADR-3), for tests: Ed25519 straight from RFC 8032, some
milliseconds a signature, and neither constant in time nor meant to keep a secret.
"""

import base64
import hashlib
import json
import os
import time

_P = 2 ** 255 - 19
_L = 2 ** 252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_KINDS = {"user": 20 << 3, "account": 0, "operator": 14 << 3}


def _recover_x(y, sign):
    x2 = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(x2, (_P + 3) // 8, _P)
    if (x * x - x2) % _P:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    return _P - x if x & 1 != sign else x


def _add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % _P, (p[1] + p[0]) * (q[1] + q[0]) % _P
    c, d = 2 * p[3] * q[3] * _D % _P, 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


_GY = 4 * pow(5, _P - 2, _P) % _P
_GX = _recover_x(_GY, 0)
_G = (_GX, _GY, 1, _GX * _GY % _P)


def _compress(point):
    inverse = pow(point[2], _P - 2, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _hash(data):
    return int.from_bytes(hashlib.sha512(data).digest(), "little") % _L


def _crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc.to_bytes(2, "little")


def _encode(raw):
    return base64.b32encode(raw + _crc16(raw)).decode().rstrip("=")


class Key:
    """From a seed's text, or a new one of a kind."""

    def __init__(self, seed=None, kind="user"):
        if seed:
            raw = base64.b32decode(seed.strip() + "=" * (-len(seed.strip()) % 8))
            assert _crc16(raw[:-2]) == raw[-2:], "a damaged seed"
            prefix, secret = (raw[0] & 7) << 5 | raw[1] >> 3, raw[2:-2]
        else:
            prefix, secret = _KINDS[kind], os.urandom(32)
        self.seed = _encode(bytes([18 << 3 | prefix >> 5, prefix << 3 & 0xFF]) + secret)
        digest = hashlib.sha512(secret).digest()
        self._scalar = int.from_bytes(digest[:32], "little") & (1 << 254) - 8 | 1 << 254
        self._nonce_key = digest[32:]
        self._public = _compress(_multiply(self._scalar, _G))
        self.public = _encode(bytes([prefix]) + self._public)

    def sign(self, message):
        r = _hash(self._nonce_key + message)
        point = _compress(_multiply(r, _G))
        return point + ((r + _hash(point + self._public + message) * self._scalar) % _L).to_bytes(32, "little")


def _base64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jwt(issuer, subject, name, kind, claims=None, expires_in=None):
    """A JWT of that kind about `subject` (a public key), signed by `issuer` (a Key)."""
    body = {"jti": "", "iat": int(time.time()), "iss": issuer.public, "name": name, "sub": subject,
            "nats": dict({"type": kind, "version": 2}, **(claims or {}))}
    if expires_in is not None:
        body["exp"] = int(time.time()) + expires_in
    body["jti"] = base64.b32encode(hashlib.sha256(json.dumps(body).encode()).digest()).decode().rstrip("=")
    text = _base64(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode()) + "." + _base64(json.dumps(body).encode())
    return f"{text}.{_base64(issuer.sign(text.encode()))}"


def credentials(user_jwt, seed):
    """The text of a .creds file."""
    return (f"-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n")


class Operator:
    """An operator with one account: what a server needs to know, and users of that account."""

    def __init__(self):
        self.operator, self.account = Key(kind="operator"), Key(kind="account")
        self.operator_jwt = jwt(self.operator, self.operator.public, "O", "operator")
        limits = {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}
        self.account_jwt = jwt(self.operator, self.account.public, "A", "account",
                               {"limits": limits, "default_permissions": {"pub": {}, "sub": {}}})

    def server_configuration(self):
        return (f"operator: {self.operator_jwt}\nresolver: MEMORY\n"
                f"resolver_preload: {{ {self.account.public}: {self.account_jwt} }}\n")

    def user(self, name, expires_in=None):
        """(user JWT, seed)"""
        key = Key()
        claims = {"pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1}
        return jwt(self.account, key.public, name, "user", claims, expires_in), key.seed
