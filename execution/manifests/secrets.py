"""Does a text hold a secret? By the name it stands under, by known forms, and by how random it looks."""

import math
import re
from collections import Counter
from itertools import pairwise

# A name that ends with one of these words holds a secret; MONKEY, TOKENIZER and KEYS_PER_SHARD do
# not, and neither does a name that says where a secret lies (.._FILE, .._PATH, .._NAME).
SECRET_NAME = re.compile(
    r"(?:^|[_.\-])(?:pass(?:wd|word|phrase)?|secret|secret_?key|token|api_?key|access_?key(?:_?id)?|"
    r"private_?key|credential|auth|key|sas|pat|pwd)s?\d*(?:[_.\-](?:id|value|base64|b64|json))?$",
    re.IGNORECASE,
)
KNOWN_FORMS = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "an Alibaba Cloud access key": re.compile(r"\bLTAI[0-9A-Za-z]{12,26}\b"),
    "a Google API key": re.compile(r"\bAIza[0-9A-Za-z_\-]{35}\b"),
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[0-9A-Za-z]{36,}|github_pat_[0-9A-Za-z_]{22,})"),
    "a Hugging Face token": re.compile(r"\bhf_[0-9A-Za-z]{30,}\b"),
    "a Slack token": re.compile(r"\bxox[abprs]-[0-9A-Za-z\-]{10,}"),
    "an OpenAI or Anthropic key": re.compile(r"\bsk-[0-9A-Za-z_\-]{20,}"),
    "a JSON web token": re.compile(
        r"\beyJ[0-9A-Za-z_\-]{8,}\.eyJ[0-9A-Za-z_\-]{8,}\.[0-9A-Za-z_\-]+"
    ),
    "a password in an address": re.compile(r"\b[a-z][a-z0-9+.\-]*://[^\s/:@]*:[^\s/@]+@"),
    "an Azure account key": re.compile(r"AccountKey=[0-9A-Za-z+/=]{20,}"),
}
WORD = re.compile(r"[0-9A-Za-z+/_=\-]{20,}")
HEX = re.compile(r"^[0-9a-f]+$|^[0-9A-F]+$")
# Bits a character. Random base64 text of 20 characters has 3.8 to 4.3 (and 2 % of draws less), of
# 40 over 4.5; identifiers and words of such length, with their repeated letters, 3 to 3.6 and
# mostly one case. Random hexadecimal digits of 32 characters have 3.3 to 3.9.
RANDOM_BITS = 3.7
RANDOM_HEX_BITS = 3.0
HEX_LENGTH = 32
KINDS = (str.isdigit, str.islower, str.isupper)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def secret_name(name: str) -> bool:
    """Whether a name promises a secret.

    >>> [secret_name(n) for n in ("AWS_SECRET_ACCESS_KEY", "dbPassword", "MONKEY", "KEY_FILE")]
    [True, True, False, False]
    """
    return SECRET_NAME.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)) is not None


def secret_in(text: str) -> str | None:
    """What kind of secret a text holds, in words; None where it looks like none.

    >>> secret_in("s3://bucket/data"), secret_in("postgres://me:pw@host/db")
    (None, 'a password in an address')
    """
    for words, form in KNOWN_FORMS.items():
        if form.search(text):
            return words
    for word in WORD.findall(DIGEST.sub("", text)):
        if _random(word):
            return f"a random text ('{word[:4]}...', {len(word)} characters)"
    return None


def _random(word: str) -> bool:
    # Paths and names are several words; the parts of a key, if it has any, are long themselves.
    parts = [part for part in re.split(r"[-_/=.]", word) if part]
    longest = max(parts, key=len, default="")
    if (
        HEX.match(longest)
        and any(c.isalpha() for c in longest)
        and any(c.isdigit() for c in longest)
    ):
        return len(longest) >= HEX_LENGTH and entropy(longest) >= RANDOM_HEX_BITS
    digits, lower, upper = (sum(map(is_kind, word)) for is_kind in KINDS)
    if not digits or not (lower or upper) or entropy(word) < RANDOM_BITS:
        return False
    if lower and upper:
        return len(longest) >= 12
    # Digits scattered among letters of one case: letters and digits take turns in a random text.
    turns = sum(a.isdigit() != b.isdigit() for a, b in pairwise(longest))
    return len(longest) >= 20 and turns >= len(longest) / 4


def entropy(text: str) -> float:
    """Bits a character of a text, by its own letters: sum of -p log2 p.

    >>> entropy("aaaa"), entropy("abcd")
    (0.0, 2.0)
    """
    counts = Counter(text).values()
    return abs(sum(-n / len(text) * math.log2(n / len(text)) for n in counts))
