"""What S3's answers to a PUT mean, as stable codes."""

from enum import StrEnum


class Why(StrEnum):
    """Why a PUT did not go well."""

    TOO_LARGE = "s3_too_large"
    """S3 takes no file this large.

    Save it with bota-gateway export, and ask Bota for the limit of an upload.
    """
    NO_BUCKET = "s3_no_bucket"
    """The bucket that the upload URL names does not exist.

    Report it to Bota, then retry.
    """
    REFUSED = "s3_refused"
    """S3 refuses the upload, and a new URL did not help.

    See that no proxy alters requests, and that the hub's clock is right, then retry. Else report what S3 said.
    """
    REDIRECTED = "s3_redirected"
    """S3 sends the upload elsewhere, which is never followed.

    See that no proxy or captive portal answers in S3's place, then retry.
    """
    SIGNATURE_REFUSED = "s3_signature_refused"
    """S3 refuses the upload URL's signature, and a new URL did not help.

    See that no proxy alters requests, and that the hub's clock is right, then retry.
    """
    UNAVAILABLE = "s3_unavailable"
    """S3 is busy or broken.

    Nothing: it is tried again.
    """
    HOST_NOT_ALLOWED = "cloud_host_not_allowed"
    """The upload URL names a host that ``cloud.s3_hosts`` does not.

    If Bota uses that host, add it to cloud.s3_hosts in /etc/bota-gateway/config.toml, then: sudo systemctl restart
    bota-gateway.
    """
    URL_EXPIRED = "cloud_url_expired"
    """Upload URLs were expired when used, several in a row.

    See that the hub's clock is right: timedatectl.
    """
    URL_NOT_YET_VALID = "cloud_url_not_yet_valid"
    """S3's clock is behind that of the API: the upload URL is not valid yet.

    Nothing: it is tried again.
    """
