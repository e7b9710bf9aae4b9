from django.apps import AppConfig
from django.core.signals import setting_changed
from django.utils.module_loading import autodiscover_modules


class RolloutConfig(AppConfig):
    name = "rollout"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Find the code paths of every app, so that a rule can name them before they are used."""
        from rollout import checks  # noqa: F401, PLC0415 - models must be loaded first

        autodiscover_modules("codepaths")
        setting_changed.connect(forget_settings, dispatch_uid="rollout")


def forget_settings(*, setting: str, **_: object) -> None:
    """Follow override_settings in tests."""
    from rollout import context  # noqa: PLC0415
    from rollout.runtime import runtime  # noqa: PLC0415

    if setting.startswith("ROLLOUT_"):
        context.forget_settings()
        runtime.unsettle()
