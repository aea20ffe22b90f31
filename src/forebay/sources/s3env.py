"""Where S3 is and who we are there: AWS variables, KServe's secret shapes and storage settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from forebay.errors import Invalid
from forebay.kit.foreign import parsed
from forebay.kit.redact import redacted
from forebay.sources.settings import endpoint_of, flag

_REGION = re.compile(r"[A-Za-z0-9-]{1,60}")
_NO = ("0", "false", "no", "off")  # anything else leaves certificates checked
_AMAZON = (".amazonaws.com", ".amazonaws.com.cn")


@dataclass(frozen=True)
class S3Settings:
    """`env` is the environment with KServe's storage settings laid over it."""

    endpoint: str
    region: str
    virtual: bool
    anonymous: bool
    verify: bool
    pays: bool
    env: Mapping[str, str] = field(repr=False)

    @property
    def is_default(self) -> bool:
        """Whether this is Amazon's own service."""
        return _is_amazon(self.endpoint)

    def in_region(self, region: str) -> S3Settings:
        """The same in another region; an endpoint that is not Amazon's stays where it is."""
        known = self.is_default and "s3-accelerate" not in self.endpoint
        return replace(self, region=region, endpoint=_amazon(region) if known else self.endpoint)


def s3_settings(env: Mapping[str, str]) -> S3Settings:
    """From AWS_ENDPOINT_URL(_S3), KServe's S3_ENDPOINT with S3_USE_HTTPS, AWS_DEFAULT_REGION or AWS_REGION,
    else from the profile in AWS_CONFIG_FILE or ~/.aws/config;
    S3_VERIFY_SSL, S3_USER_VIRTUAL_BUCKET (its spelling), S3_USE_ACCELERATE, awsAnonymousCredential,
    AWS_REQUEST_PAYER (`requester`: who asks pays), AWS_CA_BUNDLE, and on top STORAGE_CONFIG and
    STORAGE_OVERRIDE_CONFIG (JSON; the override wins). Raises Invalid.
    """
    merged = {**env, **_overlay(env)}
    merged = _of_profile(merged) | {name: text for name, text in merged.items() if text}
    region = merged.get("AWS_DEFAULT_REGION") or merged.get("AWS_REGION") or "us-east-1"
    endpoint = _endpoint(merged, region)
    virtual = flag(merged, "S3_USER_VIRTUAL_BUCKET", default=_is_amazon(endpoint))
    return S3Settings(
        endpoint,
        region,
        virtual,
        anonymous=flag(merged, "awsAnonymousCredential"),
        verify=merged.get("S3_VERIFY_SSL", "").strip().lower() not in _NO,
        pays=merged.get("AWS_REQUEST_PAYER", "").lower() == "requester",
        env=merged,
    )


def _of_profile(env: Mapping[str, str]) -> dict[str, str]:
    """Endpoint and region in the profile's section (or in its `services`) of AWS' own configuration file."""
    path = Path(env.get("AWS_CONFIG_FILE") or f"{env.get('HOME', '')}/.aws/config").expanduser()
    named = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or env.get("S3_ENDPOINT")
    if not path.is_file() or (named and (env.get("AWS_DEFAULT_REGION") or env.get("AWS_REGION"))):
        return {}
    import botocore.session
    from botocore.exceptions import BotoCoreError

    session = botocore.session.Session(profile=env.get("AWS_PROFILE") or None)
    session.set_config_variable("config_file", str(path))
    try:
        said = session.get_scoped_config()
        service = session.full_config.get("services", {}).get(said.get("services"), {}).get("s3", {})
    except (BotoCoreError, AttributeError) as error:  # a profile that is not there, a file that is none
        raise Invalid(f"{path} cannot be used ({redacted(str(error))}); check it and AWS_PROFILE") from error
    endpoint = "" if named else service.get("endpoint_url") or said.get("endpoint_url") or ""
    if flag(env, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") or flag(said, "ignore_configured_endpoint_urls"):
        endpoint = ""
    found = {"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": said.get("region") or ""}
    return {name: str(text) for name, text in found.items() if text}


def _endpoint(env: Mapping[str, str], region: str) -> str:
    text = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or env.get("S3_ENDPOINT") or ""
    if not text:
        if flag(env, "S3_USE_ACCELERATE"):
            return "https://s3-accelerate.amazonaws.com"
        return _amazon(region)
    if "://" not in text:
        text = f"{'https' if flag(env, 'S3_USE_HTTPS', True) else 'http'}://{text}"
    return endpoint_of(text, "the S3 endpoint")


def _is_amazon(endpoint: str) -> bool:
    """By its host: what follows in an address is anybody's to choose."""
    return (urlsplit(endpoint).hostname or "").endswith(_AMAZON)


def _amazon(region: str) -> str:
    if not _REGION.fullmatch(region):
        raise Invalid(f"{region[:60]!r} is no region of Amazon's; name it as in eu-central-1")
    return f"https://s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


_NAMES = {
    "endpoint_url": "AWS_ENDPOINT_URL",
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
    "region": "AWS_DEFAULT_REGION",
    "default_region": "AWS_DEFAULT_REGION",
    "verify_ssl": "S3_VERIFY_SSL",
    "anonymous": "awsAnonymousCredential",
    "ca_bundle": "AWS_CA_BUNDLE",
    "cabundle_configmap": "AWS_CA_BUNDLE_CONFIGMAP",
}


def _overlay(env: Mapping[str, str]) -> dict[str, str]:
    """KServe's storage settings as variables: known keys by the table, the others are not S3's business."""
    out: dict[str, str] = {}
    for name in ("STORAGE_CONFIG", "STORAGE_OVERRIDE_CONFIG"):
        if not env.get(name):
            continue
        try:
            body: Any = parsed(env[name])
        except ValueError as error:
            raise Invalid(f"{name} is not JSON") from error
        if not isinstance(body, dict) and body is not None:
            raise Invalid(f"{name} must be a JSON object")
        for key, value in (body or {}).items():
            if key in _NAMES and value not in (None, ""):
                out[_NAMES[key]] = str(value)
                out |= {"AWS_ENDPOINT_URL_S3": ""} if key == "endpoint_url" else {}
    return out


def session_for(settings: S3Settings) -> Any:
    """A botocore session that finds credentials: given keys first, then its own chain.

    The chain reads the process environment and files; what `settings.env` says of keys, profile and role
    wins.
    """
    import botocore.session

    env = settings.env
    session = botocore.session.Session(profile=env.get("AWS_PROFILE") or None)
    if env.get("AWS_ACCESS_KEY_ID") and env.get("AWS_SECRET_ACCESS_KEY"):
        session.set_credentials(
            env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env.get("AWS_SESSION_TOKEN") or None
        )
    if env.get("FOREBAY_CACHE_ROOT") and not env.get("AWS_ENDPOINT_URL_STS"):
        # The machine's own identity is exchanged at Amazon's: a tenant names the endpoint of a cached model.
        session.set_config_variable("ignore_configured_endpoint_urls", True)
    return session
