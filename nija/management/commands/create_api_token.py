"""`manage.py create_api_token EMAIL`: prints a REST token, once."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from accounts.services import tokens


class Command(BaseCommand):
    help = "Print a REST token for a user. It is stored as a digest and cannot be shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email")

    def handle(self, *_args: Any, **options: Any) -> None:
        user = User.objects.filter(email=options["email"].strip().lower()).first()
        if user is None:
            raise CommandError(f"There is no user with the address {options['email']}.")
        try:
            self.stdout.write(tokens.create(user).token.reveal())
        except tokens.TokenRefused as error:
            raise CommandError(str(error)) from None
