"""Presigned URLs against botocore's own signer, and every way of spoiling one."""

from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import botocore.auth
import botocore.session
import pytest
from botocore.client import Config
from botocore.credentials import Credentials

from bota_gateway.sim.cloud.presigned import PresignedUrls
from bota_gateway.sim.cloud.s3_errors import S3Error
from support.emulated_cloud import START, Clock

HOST = "127.0.0.1:9000"
OBJECT = f"http://{HOST}/bota-uploads/proj/rec/audio"
HEADERS = {"Content-Type": "audio/ogg"}
SENT = {"host": HOST, "content-type": "audio/ogg"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def urls(clock: Clock) -> PresignedUrls:
    return PresignedUrls(Credentials("ACCESS", "secret"), "us-east-1", clock)


def refused(urls: PresignedUrls, url: str, *, method: str = "PUT", sent: dict[str, str] | None = None) -> S3Error:
    with pytest.raises(S3Error) as caught:
        urls.check(method, url, SENT if sent is None else sent)
    return caught.value


def test_its_own_url_is_accepted(urls: PresignedUrls) -> None:
    """A URL used as it was issued passes, and says when it ends."""
    url = urls.issue("PUT", OBJECT, headers=HEADERS, expires_s=3600)
    assert urls.check("PUT", url, SENT).expires_at == START + 3600


def test_a_url_of_botocores_client_is_accepted(
    urls: PresignedUrls, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an ordinary AWS client presigns passes: the emulator's idea of a signature is not its own."""
    clock.at = datetime.now(UTC).timestamp()
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = botocore.session.get_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=f"http://{HOST}",
        aws_access_key_id="ACCESS",
        aws_secret_access_key="secret",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    params = {"Bucket": "bota-uploads", "Key": "a key/with spaces~and+signs", "ContentType": "audio/ogg"}
    presign = client.generate_presigned_url  # type: ignore[attr-defined]  # botocore adds it at run time
    url = presign("put_object", Params=params, ExpiresIn=60)
    assert urls.check("PUT", url, SENT).expires_s == 60


def test_a_url_equals_botocores_for_the_same_instant(
    urls: PresignedUrls, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps taken from botocore's ``add_auth`` still are what ``add_auth`` does."""
    instant = datetime.fromtimestamp(clock(), UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: instant)
    request = botocore.awsrequest.AWSRequest(method="PUT", url=OBJECT, headers=dict(HEADERS))
    botocore.auth.S3SigV4QueryAuth(Credentials("ACCESS", "secret"), "s3", "us-east-1", expires=60).add_auth(request)
    assert urls.issue("PUT", OBJECT, headers=HEADERS, expires_s=60) == request.url


def test_a_url_dies_at_its_expiry(urls: PresignedUrls, clock: Clock) -> None:
    """The last second still counts; the one after is refused as AWS words it."""
    url = urls.issue("PUT", OBJECT, headers=HEADERS, expires_s=60)
    clock.advance(60)
    urls.check("PUT", url, SENT)
    clock.advance(1)
    error = refused(urls, url)
    assert (error.status, error.code, error.message) == (403, "AccessDenied", "Request has expired")


def test_a_url_from_the_future_is_refused(urls: PresignedUrls, clock: Clock) -> None:
    """A signer whose clock is ahead by more than AWS's 15 minutes gets nothing."""
    url = urls.issue("PUT", OBJECT, headers=HEADERS, expires_s=3600)
    clock.advance(-15 * 60)
    urls.check("PUT", url, SENT)
    clock.advance(-1)
    assert refused(urls, url).message == "Request is not yet valid"


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda url: url[:-1] + ("0" if url[-1] != "0" else "1"), "SignatureDoesNotMatch"),
        (lambda url: url.replace("X-Amz-Expires=60", "X-Amz-Expires=61"), "SignatureDoesNotMatch"),
        (lambda url: url.replace("/rec/", "/other/"), "SignatureDoesNotMatch"),
        (lambda url: url + "&x-id=PutObject", "SignatureDoesNotMatch"),
        (lambda url: url.replace("%2F", "/"), "SignatureDoesNotMatch"),
        (lambda url: url.replace("ACCESS", "OTHER"), "InvalidAccessKeyId"),
        (lambda url: url.replace("us-east-1", "eu-west-1"), "AuthorizationQueryParametersError"),
        (lambda url: url.replace("HMAC-SHA256", "HMAC-SHA1"), "AuthorizationQueryParametersError"),
        (lambda url: url.replace("X-Amz-Date=2", "X-Amz-Date=x"), "AuthorizationQueryParametersError"),
        (lambda url: url.replace("&X-Amz-Expires=60", ""), "AuthorizationQueryParametersError"),
        (lambda url: url.replace("X-Amz-Expires=60", "X-Amz-Expires=604801"), "AuthorizationQueryParametersError"),
        (lambda url: url.replace("X-Amz-Expires=60", "X-Amz-Expires=soon"), "AuthorizationQueryParametersError"),
        (lambda url: url.replace("%3Bhost", ""), "AuthorizationQueryParametersError"),
        (lambda url: url.partition("?")[0], "AccessDenied"),
    ],
)
def test_a_spoilt_url_is_refused(urls: PresignedUrls, spoil: Callable[[str], str], code: str) -> None:
    """Whatever is changed in a URL, the answer names it as AWS does."""
    url = urls.issue("PUT", OBJECT, headers=HEADERS, expires_s=60)
    assert spoil(url) != url
    assert refused(urls, spoil(url)).code == code


def test_a_url_for_more_than_a_week_is_refused(urls: PresignedUrls) -> None:
    """Rightly signed, but AWS allows seven days at most."""
    url = urls.issue("PUT", OBJECT, headers=HEADERS, expires_s=7 * 86_400 + 1)
    assert refused(urls, url).code == "AuthorizationQueryParametersError"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"content-type": "audio/opus"}, "SignatureDoesNotMatch"),
        ({"host": "elsewhere:9000"}, "SignatureDoesNotMatch"),
        ({"Authorization": "Bearer sk_test_x"}, "InvalidArgument"),
        ({"x-amz-meta-serial": "BP1"}, "AccessDenied"),
    ],
)
def test_other_headers_than_signed_are_refused(urls: PresignedUrls, sent: dict[str, str], code: str) -> None:
    """A signed header must come as it was signed; credentials and unsigned x-amz-* headers must not come at all."""
    url = urls.issue("PUT", OBJECT, headers=HEADERS, expires_s=60)
    assert refused(urls, url, sent=SENT | sent).code == code


def test_a_missing_signed_header_is_refused(urls: PresignedUrls) -> None:
    """A PUT without the signed Content-Type does not pass."""
    url = urls.issue("PUT", OBJECT, headers=HEADERS, expires_s=60)
    assert refused(urls, url, sent={"host": HOST}).code == "SignatureDoesNotMatch"


def test_a_url_is_good_for_its_method_only(urls: PresignedUrls) -> None:
    """A PUT's URL does not permit a GET."""
    url = urls.issue("PUT", OBJECT, headers=HEADERS, expires_s=60)
    assert refused(urls, url, method="GET").code == "SignatureDoesNotMatch"


def test_a_url_states_what_it_claims(urls: PresignedUrls) -> None:
    """The query has the six parameters of AWS's documentation and nothing else."""
    query = parse_qs(urlsplit(urls.issue("PUT", OBJECT, headers=HEADERS, expires_s=60)).query)
    assert sorted(query) == [
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-Signature",
        "X-Amz-SignedHeaders",
    ]
