from django.apps import AppConfig


class NijaConfig(AppConfig):
    name = "nija"

    def ready(self) -> None:
        from nija import checks  # noqa: F401
