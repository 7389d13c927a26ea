"""How many calls a caller may make."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from redis import RedisError
from rest_framework.throttling import UserRateThrottle

if TYPE_CHECKING:
    # Views import this file while they are imported themselves.
    from rest_framework.request import Request
    from rest_framework.views import APIView

logger = logging.getLogger(__name__)


class CallerThrottle(UserRateThrottle):
    """Lets everybody through while Redis cannot count: a stop or a look at one's trades is worth more than the limit."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        try:
            return super().allow_request(request, view)
        except (RedisError, OSError) as error:
            logger.warning("calls of the API are not counted: %s", type(error).__name__)
            return True
