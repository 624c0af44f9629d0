"""A Prometheus with compose's alert rules, in which time runs faster."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.loopback import NO_CERTIFICATES
from tests.stack import Process, free_port, wait_for

BINARY = shutil.which("prometheus")
RULES = Path(__file__).parents[2] / "compose" / "prometheus" / "spool.rules.yml"
FASTER = 60
"""The rules' minutes are this test's seconds."""
WAITS = {"> 30": "> 3", "> 21600": "> 4"}
"""The rules about the age of the oldest job, whose limits are seconds."""


class Prometheus(Process):
    """Scrapes webs and workers once a second; ``targets``: job → addresses. ``faster``: divides the rules' times, and
    shortens their waits."""

    def __init__(self, directory: Path, targets: dict[str, list[str]], faster: int = FASTER) -> None:
        home = directory / "prometheus"
        home.mkdir()
        (home / "rules.yml").write_text(yaml.safe_dump(faster_rules(faster)))
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "500ms"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {"job_name": name, "static_configs": [{"targets": addresses}]} for name, addresses in targets.items()
            ],
        }
        (home / "prometheus.yml").write_text(yaml.safe_dump(config))
        port = free_port()
        argv = [str(BINARY), f"--config.file={home}/prometheus.yml", f"--storage.tsdb.path={home}/data"]
        super().__init__("prometheus", [*argv, f"--web.listen-address=127.0.0.1:{port}"], {}, directory)
        self.url = f"http://127.0.0.1:{port}"
        self._http = httpx.Client(base_url=f"{self.url}/api/v1", verify=NO_CERTIFICATES)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        super().start()
        wait_for(self._answers, "Prometheus answers")

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        alerts = self.get("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def get(self, path: str, **query: str | float) -> Any:
        """An answer's data."""
        return self._http.get(path, params=query).raise_for_status().json()["data"]

    def close(self) -> None:
        """End it."""
        super().close()
        self._http.close()

    def _answers(self) -> bool:
        try:
            return self._http.get("alerts").is_success
        except httpx.TransportError:
            return False


def faster_rules(faster: int) -> Any:
    """The rules, with their times divided."""
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))

    def divided(time: re.Match[str]) -> str:
        return f"{int(time[1]) * {'s': 1, 'm': 60}[time[2]] * 1000 // faster}ms"

    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        rule["expr"] = re.sub(r"(?<=\[)(\d+)([sm])(?=\])", divided, rule["expr"])
        if "for" in rule:
            rule["for"] = re.sub(r"(\d+)([sm])", divided, rule["for"])
        for limit, short in WAITS.items() if faster > 1 else ():
            rule["expr"] = re.sub(rf"{limit}$", short, rule["expr"])
    return rules
