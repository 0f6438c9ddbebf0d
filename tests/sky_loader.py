"""SkyPilot's own loader, run in the Python that has SkyPilot: ``PYTHON sky_loader.py CATALOG TASK...``.

CATALOG: rows that stand for SkyPilot's catalog, which it otherwise fetches: cloud, instance type,
accelerator, count, vCPUs, GiB, region. Prints for each task what the loader made of it, as JSON.
"""

import csv
import json
import sys
from pathlib import Path

VMS = "InstanceType,vCPUs,MemoryGiB,AcceleratorName,AcceleratorCount,GpuInfo,Price,SpotPrice,Region,AvailabilityZone"
ZONED = {"aws": "a", "gcp": "-a"}


def write_catalog(rows: list[dict[str, str]]) -> None:
    """The files that SkyPilot would have fetched into the home directory."""
    from sky.catalog import constants

    folder = Path.home() / ".sky" / "catalogs" / constants.CATALOG_SCHEMA_VERSION
    clouds = {row["cloud"] for row in rows}
    for cloud in clouds:
        (folder / cloud).mkdir(parents=True, exist_ok=True)
        lines = [VMS]
        for row in rows:
            if row["cloud"] == cloud:
                zone = f"{row['region']}{ZONED[cloud]}" if cloud in ZONED else ""
                lines.append(
                    f"{row['instance_type']},{row['vcpus']},{row['memory']},{row['accelerator']},"
                    f"{row['count']},,1.0,0.5,{row['region']},{zone}"
                )
                if cloud == "gcp" and row["accelerator"] and row["instance_type"]:
                    # There hosts and GPUs are rows of their own.
                    lines.append(
                        f",,,{row['accelerator']},{row['count']},,1.0,0.5,{row['region']},{zone}"
                    )
        (folder / cloud / "vms.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / cloud / "images.csv").write_text(
            "Tag,Region,OS,OSVersion,ImageId,CreationDate\n", encoding="utf-8"
        )
    (folder / "common").mkdir(parents=True, exist_ok=True)
    named = sorted({(row["accelerator"], row["cloud"]) for row in rows if row["accelerator"]})
    lines = ["AcceleratorName,Clouds", *(f"{name},{cloud.upper()}" for name, cloud in named)]
    (folder / "common" / "accelerators.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    with Path(sys.argv[1]).open(encoding="utf-8") as file:
        write_catalog(list(csv.DictReader(file)))
    import sky

    made: list[dict[str, object]] = []
    for path in sys.argv[2:]:
        try:
            task = sky.Task.from_yaml(path)
            for resources in task.resources:
                resources.validate()
        except Exception as error:  # noqa: BLE001  whatever it says is the answer
            made.append({"refused": f"{type(error).__name__}: {error}"[:300]})
            continue
        (resources,) = task.resources
        made.append(
            {
                "name": task.name,
                "nodes": task.num_nodes,
                "cloud": str(resources.cloud).lower(),
                "region": resources.region,
                "instance_type": resources.instance_type,
                "accelerators": resources.accelerators,
                "use_spot": resources.use_spot,
                "envs": sorted(task.envs),
                "run": task.run,
            }
        )
    print(json.dumps(made))


if __name__ == "__main__":
    main()
