"""One provider's API over HTTP: time-outs, retries with back-off, and a sentence for each failure."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError
from urllib3.util.retry import Retry

TIMEOUT_S = (5.0, 30.0)  # to connect, between two pieces of an answer
RETRIES = 4
CONNECT_RETRIES = 2  # where there is no network, say so soon
BACKOFF_S = 0.5  # doubles with each retry; a Retry-After of the server counts more
LONGEST_WAIT_S = 60
RETRY_STATUS = (429, 500, 502, 503, 504)
LARGEST_ANSWER_BYTES = 256 << 20
MOST_PAGES = 10_000


class RefreshError(ValueError):
    """A provider's prices could not be had; the message is the sentence to show."""

    exit_code = 4


def url_of(name: str, default: str) -> str:
    """The base URL of an API: ISOCOST_URL_<NAME> of the environment, else the provider's own."""
    return os.environ.get("ISOCOST_URL_" + name.upper().replace("-", "_"), default)


@dataclass(frozen=True)
class Web:
    """Answers of one API; name is the provider's, for the sentences."""

    name: str
    base_url: str
    timeout_s: tuple[float, float] = TIMEOUT_S
    backoff_s: float = BACKOFF_S
    session: requests.Session = field(default_factory=requests.Session, compare=False)

    def __post_init__(self) -> None:
        retry = Retry(
            total=RETRIES,
            connect=CONNECT_RETRIES,
            backoff_factor=self.backoff_s,
            status_forcelist=RETRY_STATUS,
            raise_on_status=False,
            retry_after_max=LONGEST_WAIT_S,
        )
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, HTTPAdapter(max_retries=retry))

    def get(
        self,
        path: str = "",
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        errors_are_answers: bool = False,
    ) -> dict[str, Any]:
        """The JSON object at a path below the base URL, or at a whole URL of the same host.

        errors_are_answers: give back the body of an answer with status 400 to 404 as well.
        Raises RefreshError where nothing, an error or no JSON object comes back.
        """
        answer = self._answer(path, params, headers, stream=False)
        if not (errors_are_answers and 400 <= answer.status_code <= 404):
            self._check(answer)
        try:
            content = answer.json()
        except ValueError:
            raise self._malformed(f"no JSON ({answer.text[:60]!r})") from None
        if not isinstance(content, dict):
            raise self._malformed(f"a {type(content).__name__} where an object was expected")
        return content

    def lines(self, path: str) -> Iterator[str]:
        """The lines of a large text, as they come."""
        answer = self._answer(path, None, None, stream=True)
        self._check(answer)
        answer.encoding = "utf-8"
        try:
            yield from answer.iter_lines(chunk_size=1 << 16, decode_unicode=True)
        except (requests.RequestException, UnicodeDecodeError) as error:
            raise self._broken(error) from None
        finally:
            answer.close()

    def part(self, answer: Mapping[str, Any], key: str, kind: type) -> Any:
        """answer[key], which must be of a kind: an API that changed is named, not guessed at."""
        value = answer.get(key)
        if not isinstance(value, kind):
            shown = json.dumps(value)[:40] if key in answer else "nothing"
            raise self._malformed(f"{shown} for '{key}' where a {kind.__name__} was expected")
        return value

    def _answer(
        self,
        path: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        *,
        stream: bool,
    ) -> requests.Response:
        url = urljoin(self.base_url, path)
        if urlsplit(url).hostname != urlsplit(self.base_url).hostname:
            raise self._malformed(f"a link to another host ({urlsplit(url).hostname})")
        try:
            return self.session.get(
                url, params=params, headers=headers, timeout=self.timeout_s, stream=stream
            )
        except requests.RequestException as error:
            raise self._broken(error) from None

    def _check(self, answer: requests.Response) -> None:
        if answer.status_code in (401, 403):
            raise RefreshError(
                f"{self.name}: {self.base_url} refused the request ({answer.status_code}); "
                "check the key and what it may read"
            )
        if not answer.ok:
            raise RefreshError(
                f"{self.name}: {self.base_url} answered {answer.status_code} {answer.reason} "
                f"after {RETRIES} retries; try again later"
                if answer.status_code in RETRY_STATUS
                else f"{self.name}: {self.base_url} answered {answer.status_code} {answer.reason}"
            )

    def _broken(self, error: Exception) -> RefreshError:
        # After the last retry the time-out itself stands inside.
        reason = getattr(error.args[0], "reason", None) if error.args else None
        why = (
            "did not answer in time"
            if isinstance(error, requests.Timeout) or isinstance(reason, ReadTimeoutError)
            else "could not be reached, or broke off"
        )
        return RefreshError(
            f"{self.name}: {self.base_url} {why}; without a network, import a price list "
            "with isocost catalog import FILE"
        )

    def _malformed(self, what: str) -> RefreshError:
        return RefreshError(
            f"{self.name}: {self.base_url} answered with {what}; its API may have changed"
        )
