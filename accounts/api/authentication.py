"""Who calls, by the token in the Authorization header."""

from __future__ import annotations

from typing import Any

from drf_spectacular.contrib.knox_auth_token import KnoxTokenScheme
from knox import auth
from rest_framework.exceptions import AuthenticationFailed


class TokenAuthentication(auth.TokenAuthentication):  # type: ignore[misc]  # the package has no types
    """Refuses what can be no token before it is decoded and looked up: a stranger's bytes are no error of ours."""

    def authenticate_credentials(self, token: bytes) -> Any:
        if not token.isalnum():
            raise AuthenticationFailed("Invalid token.")
        return super().authenticate_credentials(token)


class TokenScheme(KnoxTokenScheme):  # type: ignore[no-untyped-call]  # the package has no types
    """How the API's description tells of it."""

    target_class = "accounts.api.authentication.TokenAuthentication"
    name = "knoxApiToken"
