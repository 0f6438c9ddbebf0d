"""The providers' price APIs, played by a server on this machine with answers of their shape."""

import io
import json
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest

from isocost.catalog import load
from isocost.catalog.live import SOURCES, Refreshed, RefreshError, Web, refresh
from isocost.catalog.live.alibaba import signature

from .conftest import ROOT, Command, document

CATALOG = load()
TODAY = date(2026, 11, 24)
Answer = tuple[int, bytes] | tuple[int, bytes, dict[str, str]]
Reply = Callable[[str, dict[str, str]], Answer]


class Server:
    """Answers by reply(path, query); asked holds every question."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.headers: list[dict[str, str]] = []
        self.reply: Reply = lambda path, query: (404, b"{}")
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                query = {k: v[0] for k, v in parse_qs(url.query).items()}
                server.asked.append((url.path, query))
                server.headers.append(dict(self.headers))
                status, body, *more = server.reply(url.path, query)
                self.send_response(status)
                for name, value in (more[0] if more else {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a client that gave up waiting

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def web(self, name: str, **options: Any) -> Web:
        return Web(name, self.url, **{"backoff_s": 0.001, **options})


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.http.shutdown()
    one.http.server_close()


def js(content: object, status: int = 200) -> Answer:
    return status, json.dumps(content).encode()


def asked_for(
    name: str, server: Server, *regions: str, settings: dict[str, str] | None = None
) -> Refreshed:
    return refresh(
        SOURCES[name],
        CATALOG,
        regions=regions,
        settings=settings or {},
        today=TODAY,
        web=server.web(name),
    )


def price(done: Refreshed, kind: str, column: str, region: str | None = None) -> float | None:
    rows = done.found.offers.filter(pl.col("instance_type") == kind)
    if region:
        rows = rows.filter(region=region)
    value: float | None = rows[column][0]
    return value


# -------------------------------------------------------------------------------------- azure


def azure_item(sku: str, usd: float, **change: object) -> dict[str, object]:
    return {
        "currencyCode": "USD",
        "retailPrice": usd,
        "armRegionName": "eastus",
        "armSkuName": "Standard_NC4as_T4_v3",
        "productName": "Virtual Machines NCasT4 v3 Series",
        "skuName": sku,
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        **change,
    }


def azure(server: Server) -> None:
    first = [
        azure_item("NC4as T4 v3", 0.526),
        azure_item("NC4as T4 v3", 0.71, productName="Virtual Machines NCasT4 v3 Series Windows"),
        azure_item("NC4as T4 v3 Low Priority", 0.05),
        azure_item("Nobody", 1.0, armSkuName="Standard_Nobody"),
    ]
    second = [azure_item("NC4as T4 v3 Spot", 0.21)]
    reserved = [
        azure_item("NC4as T4 v3", 2940.0, type="Reservation", reservationTerm="1 Year"),
        azure_item("NC4as T4 v3", 5900.0, type="Reservation", reservationTerm="3 Years"),
        azure_item("NC4as T4 v3", 9000.0, type="Reservation", reservationTerm="5 Years"),
    ]

    def reply(path: str, query: dict[str, str]) -> Answer:
        if path == "/page2":
            return js({"Items": second, "NextPageLink": None})
        assert path == "/api/retail/prices"
        assert "armRegionName eq 'eastus'" in query["$filter"]
        if "'Reservation'" in query["$filter"]:
            return js({"Items": reserved, "NextPageLink": None})
        return js({"Items": first, "NextPageLink": f"{server.url}/page2"})

    server.reply = reply


def test_azure_is_read_page_by_page(server: Server) -> None:
    azure(server)
    done = asked_for("azure", server, "eastus")
    kind = "Standard_NC4as_T4_v3"
    assert price(done, kind, "on_demand_usd_h") == 0.526
    assert price(done, kind, "spot_usd_h") == 0.21
    assert price(done, kind, "reserved_1y_usd_h") == pytest.approx(2940 / 8760)
    assert price(done, kind, "reserved_3y_usd_h") == pytest.approx(5900 / 3 / 8760)
    row = done.found.offers.row(0, named=True)
    assert (row["accelerator"], row["price_date"], row["spot_date"]) == ("T4", TODAY, TODAY)
    assert row["source"] == "Azure Retail Prices API"
    assert done.unknown == ("Standard_Nobody",)
    assert len(server.asked) == 3


def test_pages_that_go_round_in_a_circle_end(server: Server) -> None:
    server.reply = lambda path, query: js({"Items": [], "NextPageLink": f"{server.url}/again"})
    with pytest.raises(RefreshError, match="go round in a circle"):
        asked_for("azure", server, "eastus")


def test_a_link_to_another_host_is_not_followed(server: Server) -> None:
    server.reply = lambda path, query: js({"Items": [], "NextPageLink": "http://evil.example/"})
    with pytest.raises(RefreshError, match="a link to another host"):
        asked_for("azure", server, "eastus")
    assert len(server.asked) == 1


# ---------------------------------------------------------------------------------------- aws

AWS_HEADER = (
    "SKU,TermType,Unit,PricePerUnit,Currency,LeaseContractLength,PurchaseOption,OfferingClass,"
    "Instance Type,Instance Family,vCPU,Memory,Tenancy,Operating System,CapacityStatus,"
    "Pre Installed S/W,GPU"
)


def aws_line(**change: str) -> str:
    row = {
        "SKU": "A1",
        "TermType": "OnDemand",
        "Unit": "Hrs",
        "PricePerUnit": "0.526",
        "Currency": "USD",
        "Instance Type": "g4dn.xlarge",
        "Instance Family": "GPU instance",
        "vCPU": "4",
        "Memory": "16 GiB",
        "Tenancy": "Shared",
        "Operating System": "Linux",
        "CapacityStatus": "Used",
        "Pre Installed S/W": "NA",
        "GPU": "1",
        **change,
    }
    return ",".join(f'"{row.get(name, "")}"' for name in AWS_HEADER.split(","))


def aws(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    reserved = {
        "TermType": "Reserved",
        "PurchaseOption": "No Upfront",
        "OfferingClass": "standard",
    }
    lines = [
        '"FormatVersion","v1.0"',
        '"Disclaimer","This pricing list is for informational purposes only, see ""terms""."',
        '"Publication Date","2026-11-20T00:00:00Z"',
        ",".join(f'"{name}"' for name in AWS_HEADER.split(",")),
        aws_line(),
        aws_line(**{"Operating System": "Windows", "PricePerUnit": "0.71"}),
        aws_line(Tenancy="Dedicated", PricePerUnit="0.6"),
        aws_line(**reserved, LeaseContractLength="1yr", PricePerUnit="0.34"),
        aws_line(**reserved, LeaseContractLength="3yr", PricePerUnit="0.23"),
        aws_line(
            **{
                "Instance Type": "m9.2xlarge",
                "Instance Family": "General purpose",
                "Memory": "1,032 GiB",
                "GPU": "",
                "vCPU": "64",
                "PricePerUnit": "3.2",
            }
        ),
        aws_line(**{"Instance Type": "t3.2xlarge", "Instance Family": "General purpose"}),
        aws_line(**{"Instance Type": "p9.huge"}),
    ]
    advice = {"us-east-1": {"Linux": {"g4dn.xlarge": {"r": 2, "s": 60}}}}

    def reply(path: str, query: dict[str, str]) -> Answer:
        if path.endswith("region_index.json"):
            url = "/offers/v1.0/aws/AmazonEC2/20261120/us-east-1/index.json"
            return js({"regions": {"us-east-1": {"currentVersionUrl": url}}})
        if path == "/spot-advisor-data.json":
            return js({"spot_advisor": advice})
        assert path == "/offers/v1.0/aws/AmazonEC2/20261120/us-east-1/index.csv"
        return 200, "\n".join(lines).encode()

    server.reply = reply
    monkeypatch.setenv("ISOCOST_URL_AWS_SPOT", server.url)


def test_aws_is_read_line_by_line(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    aws(server, monkeypatch)
    done = asked_for("aws", server, "us-east-1", "mars-north-1")
    assert price(done, "g4dn.xlarge", "on_demand_usd_h") == 0.526
    assert price(done, "g4dn.xlarge", "reserved_1y_usd_h") == 0.34
    assert price(done, "g4dn.xlarge", "reserved_3y_usd_h") == 0.23
    assert price(done, "g4dn.xlarge", "spot_usd_h") == pytest.approx(0.526 * 0.4)
    assert done.found.offers["spot_basis"].drop_nulls().to_list() == ["advisor_savings"]
    new = done.found.offers.filter(instance_type="m9.2xlarge").row(0, named=True)
    assert (new["accelerator"], new["vcpus"], new["memory_gib"]) == ("CPU", 64, 1032)
    assert set(done.found.offers["instance_type"]) == {"g4dn.xlarge", "m9.2xlarge"}
    assert done.unknown == ("p9.huge",)


# ---------------------------------------------------------------------------------------- gcp


def gcp_sku(words: str, nanos: int, usage: str = "OnDemand", units: str = "0") -> dict[str, Any]:
    return {
        "description": f"{words} running in Americas",
        "category": {"resourceFamily": "Compute", "usageType": usage},
        "serviceRegions": ["us-central1", "us-east1"],
        "pricingInfo": [
            {
                "pricingExpression": {
                    "tieredRates": [{"unitPrice": {"units": units, "nanos": nanos}}]
                }
            }
        ],
    }


def test_gcps_machines_are_the_sum_of_their_parts(server: Server) -> None:
    known = CATALOG.offers.filter(provider="gcp", instance_type="g2-standard-4").row(0, named=True)
    pages = {
        "": {
            "skus": [
                gcp_sku("G2 Instance Core", 25_000_000),
                gcp_sku("G2 Instance Ram", 3_000_000),
                gcp_sku("Nvidia L4 GPU", 560_000_000),
                gcp_sku("N2 Custom Instance Core", 1, units="9"),
                {"description": "broken"},
            ],
            "nextPageToken": "2",
        },
        "2": {
            "skus": [
                gcp_sku("Spot Preemptible G2 Instance Core", 10_000_000, "Preemptible"),
                gcp_sku("Spot Preemptible G2 Instance Ram", 1_000_000, "Preemptible"),
                gcp_sku("Nvidia L4 GPU", 200_000_000, "Preemptible"),
            ],
            "nextPageToken": "",
        },
    }
    server.reply = lambda path, query: js(pages[query.get("pageToken", "")])
    done = asked_for("gcp", server, "us-central1", settings={"GOOGLE_API_KEY": "k"})
    vcpus, gib = known["vcpus"], known["memory_gib"]
    assert price(done, "g2-standard-4", "on_demand_usd_h") == pytest.approx(
        vcpus * 0.025 + gib * 0.003 + 0.56
    )
    assert price(done, "g2-standard-4", "spot_usd_h") == pytest.approx(
        vcpus * 0.01 + gib * 0.001 + 0.2
    )
    assert all(query["key"] == "k" for _, query in server.asked)
    assert done.found.offers["instance_type"].str.starts_with("g2-").all()


def test_a_missing_key_is_asked_for(server: Server) -> None:
    for name in ("gcp", "alibaba", "lambda"):
        with pytest.raises(RefreshError, match=f"{name}: set {SOURCES[name].needs[0]} to"):
            asked_for(name, server)
    assert server.asked == []


# ------------------------------------------------------------------------------------ alibaba

KEYS = {
    "ALIBABA_CLOUD_ACCESS_KEY_ID": "id",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "secret",
    "ISOCOST_CNY_PER_USD": "7.2",
}


def test_alibaba_is_asked_for_each_offer_and_its_spot_price(server: Server) -> None:
    sold = "ecs.gn7i-c8g1.2xlarge"
    throttled: list[str] = []

    def reply(path: str, query: dict[str, str]) -> Answer:
        assert query["Signature"] == signature(
            {k: v for k, v in query.items() if k != "Signature"}, "secret"
        )
        if query["InstanceType"] != sold:
            return js({"Code": "InvalidInstanceType.ValueNotSupported", "Message": "no"}, 403)
        if not throttled:
            throttled.append("once")
            return js({"Code": "Throttling.User", "Message": "slow down"}, 400)
        if query["Action"] == "DescribePrice":
            money = {"OriginalPrice": 14.4, "TradePrice": 12.0, "Currency": "CNY"}
            return js({"PriceInfo": {"Price": money}})
        spots = [
            {"ZoneId": "cn-beijing-f", "SpotPrice": 9.0, "Timestamp": "2026-11-23T10:00:00Z"},
            {"ZoneId": "cn-beijing-f", "SpotPrice": 3.6, "Timestamp": "2026-11-24T10:00:00Z"},
            {"ZoneId": "cn-beijing-i", "SpotPrice": 7.2, "Timestamp": "2026-11-24T09:00:00Z"},
        ]
        return js({"SpotPrices": {"SpotPriceType": spots}, "Currency": "CNY", "NextOffset": 0})

    server.reply = reply
    done = asked_for("alibaba", server, "cn-beijing", settings=KEYS)
    assert done.found.offers["instance_type"].to_list() == [sold]
    assert price(done, sold, "on_demand_usd_h") == pytest.approx(2.0)
    assert price(done, sold, "spot_usd_h") == pytest.approx((0.5 + 1.0) / 2)
    assert done.found.offers["zones"].to_list() == ["cn-beijing-f cn-beijing-i"]
    assert throttled


def test_alibabas_signature_is_that_of_its_manual() -> None:
    """The worked example of Alibaba Cloud's page on signing RPC requests."""
    manual = {
        "Timestamp": "2016-02-23T12:46:24Z",
        "Format": "XML",
        "AccessKeyId": "testid",
        "Action": "DescribeRegions",
        "SignatureMethod": "HMAC-SHA1",
        "SignatureNonce": "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf",
        "Version": "2014-05-26",
        "SignatureVersion": "1.0",
    }
    assert signature(manual, "testsecret") == "OLeaidS1JvxuMvnyHOwuJ+uX5qY="


@pytest.mark.parametrize(
    ("money", "settings", "words"),
    [
        ("CNY", {"ISOCOST_CNY_PER_USD": ""}, "set ISOCOST_CNY_PER_USD"),
        ("CNY", {"ISOCOST_CNY_PER_USD": "0"}, "expected yuan for one dollar"),
        ("EUR", {}, "prices came in 'EUR'"),
    ],
)
def test_money_that_cannot_be_changed_is_said(
    money: str, settings: dict[str, str], words: str, server: Server
) -> None:
    info = {"PriceInfo": {"Price": {"OriginalPrice": 1.0, "Currency": money}}}
    server.reply = lambda path, query: js(info)
    with pytest.raises(RefreshError, match=words):
        asked_for("alibaba", server, "cn-beijing", settings={**KEYS, **settings})


def test_a_wrong_alibaba_key_is_said(server: Server) -> None:
    wrong = {"Code": "InvalidAccessKeyId.NotFound", "Message": "Specified access key is not found."}
    server.reply = lambda path, query: js(wrong, 404)
    with pytest.raises(RefreshError, match=r"InvalidAccessKeyId\.NotFound: Specified access key"):
        asked_for("alibaba", server, "cn-beijing", settings=KEYS)


# ------------------------------------------------------------------------- lambda and gpuhunt


def test_lambda_asks_one_price_everywhere(server: Server) -> None:
    kind = "gpu_1x_a10"
    entry = {
        "instance_type": {
            "name": kind,
            "price_cents_per_hour": 75,
            "specs": {"vcpus": 30, "memory_gib": 200, "gpus": 1},
        },
        "regions_with_capacity_available": [{"name": "us-west-1"}],
    }
    server.reply = lambda path, query: js({"data": {kind: entry}})
    done = asked_for(
        "lambda", server, "us-east-1", "us-west-1", settings={"LAMBDA_API_KEY": "secret"}
    )
    assert set(done.found.offers["region"]) == {"us-east-1", "us-west-1"}
    assert set(done.found.offers["on_demand_usd_h"]) == {0.75}
    assert set(done.found.offers["accelerator"]) == {"A10"}
    assert server.headers[0]["Authorization"] == "Bearer secret"


def test_gpuhunts_catalog_is_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gpuhunt")
    header = (
        "instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot,disk_size,"
        "gpu_vendor\n"
    )
    table = header + (
        "gpu-h100-sxm,eu-north1,2.95,16,200,1,H100,80.0,False,,nvidia\n"
        "gpu-h100-sxm,eu-north1,1.25,16,200,1,H100,80.0,True,,nvidia\n"
        "strange,eu-north1,9.0,16,200,1,Z999,80.0,False,,nvidia\n"
        "cpu-d3,nowhere,0.2,8,32,0,,,False,,\n"
    )

    def reply(path: str, query: dict[str, str]) -> Answer:
        provider = path.split("/")[1]
        if path.endswith("/version"):
            return 200, b"20261124"
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as file:
            file.writestr(f"{provider}.csv", table if provider == "nebius" else header)
        return 200, packed.getvalue()

    server.reply = reply
    monkeypatch.setenv("GPUHUNT_CATALOG_URL", server.url)
    done = asked_for("gpuhunt-nebius", server, "eu-north1")
    row = done.found.offers.row(0, named=True)
    assert (row["accelerator"], row["on_demand_usd_h"], row["spot_usd_h"]) == ("H100", 2.95, 1.25)
    assert row["source"] == "gpuhunt's catalog of nebius"
    assert ["'Z999-80GB' is not known" in one.reason for one in done.found.refused] == [True]


def test_gpuhunt_without_a_network_is_one_sentence(
    isocost: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gpuhunt")
    monkeypatch.setenv("GPUHUNT_CATALOG_URL", "http://127.0.0.1:9")
    done = isocost("catalog", "refresh", "gpuhunt-nebius")
    assert done.returncode == 4
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "gpuhunt could not load its catalog" in done.stderr


# ---------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("reply", "words", "questions"),
    [
        (lambda p, q: (500, b"oops"), "answered 500 .* after 4 retries; try again later", 5),
        (lambda p, q: (404, b"{}"), "answered 404 Not Found", 1),
        (lambda p, q: (401, b"{}"), "refused the request .401.; check the key", 1),
        (lambda p, q: (200, b"<html>"), "answered with no JSON .'<html>'.", 1),
        (lambda p, q: (200, b"[1]"), "a list where an object was expected", 1),
        (lambda p, q: (200, b"{}"), "nothing for 'Items' where a list was expected", 1),
        (lambda p, q: (200, b'{"Items": 3}'), "3 for 'Items' where a list was expected", 1),
        (lambda p, q: (200, b'{"Items": [3]}'), "answered in another shape than expected", 1),
        (lambda p, q: (200, b'{"Items": []}'), "no price came back for eastus; check the names", 2),
    ],
)
def test_a_bad_answer_is_one_sentence(
    reply: Reply, words: str, questions: int, server: Server
) -> None:
    server.reply = reply
    with pytest.raises(RefreshError, match=words) as refusal:
        asked_for("azure", server, "eastus")
    assert "\n" not in str(refusal.value)
    assert len(server.asked) == questions


def test_a_busy_server_is_asked_again(server: Server) -> None:
    azure(server)
    well, busy = server.reply, iter([429, 503])

    def reply(path: str, query: dict[str, str]) -> Answer:
        status = next(busy, 0)
        return (status, b"", {"Retry-After": "0"}) if status else well(path, query)

    server.reply = reply
    assert price(asked_for("azure", server, "eastus"), "Standard_NC4as_T4_v3", "spot_usd_h") == 0.21
    assert len(server.asked) == 5


def test_a_server_that_never_answers_is_given_up(server: Server) -> None:
    stop = threading.Event()

    def reply(path: str, query: dict[str, str]) -> Answer:
        stop.wait(5)
        return js({})

    server.reply = reply
    web = server.web("azure", timeout_s=(0.5, 0.05))
    with pytest.raises(RefreshError, match=r"azure: http.* did not answer in time"):
        web.get("/")
    stop.set()
    assert len(server.asked) == 5


def test_no_network_is_one_clear_sentence(isocost: Command, tmp_path: Path) -> None:
    import os

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ["ISOCOST_URL_AZURE"] = f"http://127.0.0.1:{port}"
    try:
        done = isocost("catalog", "refresh", "azure", "--region", "eastus")
    finally:
        del os.environ["ISOCOST_URL_AZURE"]
    assert done.returncode == 4
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "could not be reached" in done.stderr
    assert "isocost catalog import FILE" in done.stderr
    assert not (tmp_path / "home").exists()


# -------------------------------------------------------------------------------- the command


def test_the_command_keeps_what_it_was_told_and_what_it_did_not_ask_for(
    isocost: Command, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    azure(server)
    monkeypatch.setenv("ISOCOST_URL_AZURE", server.url)
    done = isocost("catalog", "refresh", "azure", "--region", "eastus", "--json")
    assert done.returncode == 0, done.stderr
    outcome = document(done.stdout)["refreshed"]
    assert isinstance(outcome, list)
    assert outcome[0]["offers"] == 1
    shelf = tmp_path / "home" / "catalog" / "refresh-azure.csv"
    kept = pl.read_csv(shelf)
    more = kept.with_columns(region=pl.lit("westeurope"))
    pl.concat([kept, more]).write_csv(shelf)
    assert isocost("catalog", "refresh", "azure", "--region", "eastus").returncode == 0
    assert pl.read_csv(shelf)["region"].to_list() == ["eastus", "westeurope"]


def test_sources_are_listed_and_misspelt_ones_refused(isocost: Command) -> None:
    listed = isocost("catalog", "refresh", "--list")
    assert "GOOGLE_API_KEY" in listed.stdout
    assert all(len(line.rstrip()) <= 80 for line in listed.stdout.splitlines())
    wrong = isocost("catalog", "refresh", "azur")
    assert wrong.returncode == 2
    assert "did you mean 'azure'?" in wrong.stderr


def test_a_source_is_a_small_file() -> None:
    for path in (ROOT / "catalog" / "live").glob("*.py"):
        if path.stem in ("azure", "lambda_cloud", "gpuhunt_catalog"):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 75
