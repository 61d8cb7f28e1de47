"""An OpenID Connect provider on the loopback address: Authlib's server, which holds clients to their secret, to the
registered address to come back to, and to PKCE with S256. It asks nobody for a password: whoever is ``at_the_keyboard``
is signed in.
"""

import contextlib
import secrets
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, grants
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import OpenIDCode
from flask import Flask, Response, jsonify, request
from joserfc.jwk import RSAKey
from werkzeug.serving import make_server

CLIENT_ID, CLIENT_SECRET = "pairloop", "a secret that only the two know"
SIGNING_ALGORITHM = "RS256"


class Client(ClientMixin):
    """This site, as the provider knows it."""

    client_id = CLIENT_ID

    def __init__(self, comes_back_to: str) -> None:
        self.comes_back_to = comes_back_to

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str:
        return self.comes_back_to

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == self.comes_back_to

    def check_client_secret(self, client_secret: str) -> bool:
        return secrets.compare_digest(client_secret, CLIENT_SECRET)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in ("client_secret_post", "client_secret_basic")

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


@dataclass
class Code(AuthorizationCodeMixin):
    code: str
    redirect_uri: str
    scope: str
    claims: dict[str, Any]
    code_challenge: str
    code_challenge_method: str
    nonce: str | None

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str | None:
        return self.nonce

    def get_auth_time(self) -> int:
        return int(time.time())

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


class Provider:
    """A running provider. ``at_the_keyboard`` are the claims of whoever signs in next; None cancels."""

    def __init__(self, comes_back_to: str) -> None:
        self.at_the_keyboard: dict[str, Any] | None = None
        # What userinfo says instead, for a provider that contradicts itself.
        self.userinfo_says: dict[str, Any] | None = None
        # What the ID token says about itself instead: another audience, another issuer, another end.
        self.id_token_says: dict[str, Any] = {}
        self.codes: dict[str, Code] = {}
        self.tokens: dict[str, dict[str, Any]] = {}
        self.challenges: list[str] = []
        self._key = RSAKey.generate_key(2048, parameters={"kid": "1", "use": "sig", "alg": SIGNING_ALGORITHM})
        self._client = Client(comes_back_to)
        self._server = make_server("127.0.0.1", 0, self._app(), threaded=True)
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"

    def run(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _app(self) -> Flask:
        provider, app = self, Flask(__name__)
        key, client = self._key, self._client

        class CodeGrant(grants.AuthorizationCodeGrant):
            TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_post", "client_secret_basic")

            def save_authorization_code(self, code: str, request: Any) -> None:
                sent = request.payload.data
                provider.challenges.append(sent["code_challenge"])
                provider.codes[code] = Code(
                    code,
                    sent["redirect_uri"],
                    request.payload.scope,
                    request.user,
                    sent["code_challenge"],
                    sent["code_challenge_method"],
                    sent.get("nonce"),
                )

            def query_authorization_code(self, code: str, client: Client) -> Code | None:
                return provider.codes.get(code)

            def delete_authorization_code(self, authorization_code: Code) -> None:
                del provider.codes[authorization_code.code]

            def authenticate_user(self, authorization_code: Code) -> dict[str, Any]:
                return authorization_code.claims

        class StrictChallenge(CodeChallenge):
            SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

            def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
                super().validate_code_challenge(grant, redirect_uri)
                if not grant.request.payload.data.get("code_challenge"):
                    raise AuthlibBaseError("invalid_request", "This provider wants PKCE.")

        class IdToken(OpenIDCode):
            def exists_nonce(self, nonce: str, request: Any) -> bool:
                return False

            def resolve_client_private_key(self, client: Client) -> RSAKey:
                return key

            def get_client_algorithm(self, client: Client) -> str:
                return SIGNING_ALGORITHM

            def get_client_claims(self, client: Client) -> dict[str, Any]:
                return {"iss": provider.issuer, **provider.id_token_says}

            def get_encode_header(self, client: Client) -> dict[str, Any]:
                return {"alg": SIGNING_ALGORITHM, "kid": "1"}

            def generate_user_info(self, user: dict[str, Any], scope: str) -> dict[str, Any]:
                return user

        def save_token(token: dict[str, Any], request: Any) -> None:
            provider.tokens[token["access_token"]] = request.user

        server = AuthorizationServer(app, query_client=lambda name: client if name == CLIENT_ID else None)
        server._save_token = save_token
        server.register_grant(CodeGrant, [StrictChallenge(required=True), IdToken()])

        @app.get("/.well-known/openid-configuration")
        def configuration() -> Response:
            here = provider.issuer
            return jsonify(
                issuer=here,
                authorization_endpoint=f"{here}/authorize",
                token_endpoint=f"{here}/token",
                userinfo_endpoint=f"{here}/userinfo",
                jwks_uri=f"{here}/jwks",
                response_types_supported=["code"],
                subject_types_supported=["public"],
                id_token_signing_alg_values_supported=[SIGNING_ALGORITHM],
                code_challenge_methods_supported=["S256"],
            )

        @app.get("/authorize")
        def authorize() -> Response:
            grant = server.get_consent_grant(end_user=provider.at_the_keyboard)
            return server.create_authorization_response(grant_user=provider.at_the_keyboard, grant=grant)

        @app.post("/token")
        def token() -> Response:
            return server.create_token_response()

        @app.get("/userinfo")
        def userinfo() -> tuple[Response, int]:
            claims = provider.tokens.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
            if claims is None:
                return jsonify(error="invalid_token"), 401
            return jsonify(provider.userinfo_says or claims), 200

        @app.get("/jwks")
        def jwks() -> Response:
            return jsonify(keys=[key.as_dict(private=False)])

        return app


@contextlib.contextmanager
def running_provider(comes_back_to: str) -> Iterator[Provider]:
    """A provider on a free loopback port that sends people back to ``comes_back_to`` and nowhere else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        provider = Provider(comes_back_to)
        thread = threading.Thread(target=provider.run, daemon=True)
        thread.start()
        try:
            yield provider
        finally:
            provider.stop()
            thread.join(5)
