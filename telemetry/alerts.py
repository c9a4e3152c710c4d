"""Which alerts are on.  ``evaluate`` compares facts with the rules and returns what began and what ended.

Hysteresis: an alert ends only when the value is clearly on the good side again (``Rule.clear``), so that a value that
swings around its threshold makes one alert.  One whose value nobody can read any more ends too: a card that is lost is not
known to be full.  Bounded: one a rule and subject.  Thread-safe.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..storage.events import Event
from ..storage.events_comfy import AlertCleared, AlertRaised
from .alert_rules import CRITICAL, RULES, Facts, Rule

HISTORY = 100


@dataclass(frozen=True, slots=True)
class Alert:
    rule: str
    severity: str
    component: str
    subject: str
    since_s: float
    value: float
    threshold: float
    unit: str
    message: str
    recommendation: str
    cleared_s: float | None = None


class Alerts:
    def __init__(self, settings: Any, rules: Sequence[Rule] = RULES) -> None:
        """settings: the configuration's [alerts] section."""
        self._settings = settings
        self.all_rules = tuple(rules)
        self.rules = self.all_rules if settings.enabled else ()
        self._lock = threading.Lock()
        self._active: dict[tuple[str, str], Alert] = {}
        self._history: deque[Alert] = deque(maxlen=HISTORY)

    def active(self) -> tuple[Alert, ...]:
        """Critical ones first, then the oldest."""
        with self._lock:
            return tuple(sorted(self._active.values(), key=lambda a: (a.severity != CRITICAL, a.since_s)))

    def history(self) -> tuple[Alert, ...]:
        """Those that have ended, newest first."""
        with self._lock:
            return tuple(reversed(self._history))

    def evaluate(self, facts: Facts) -> list[Event]:
        """The alerts that began and ended, as events for the bus."""
        told: list[Event] = []
        with self._lock:
            for rule in self.rules:
                threshold = rule.threshold(self._settings)
                if threshold > 0:
                    readings = dict(rule.read(facts))
                    for subject, value in readings.items():
                        told += self._one(rule, subject, value, threshold, facts.now_s)
                    unknown = [key for key in self._active if key[0] == rule.name and key[1] not in readings]
                    told += [self._end(rule, subject, facts.now_s) for _, subject in unknown]
        return told

    def _one(self, rule: Rule, subject: str, value: float, threshold: float, now_s: float) -> list[Event]:
        key = (rule.name, subject)
        before = self._active.get(key)
        if before is None:
            if not (value >= threshold if rule.rising else value < threshold):
                return []
            alert = _alert(rule, subject, value, threshold, now_s)
            self._active[key] = alert
            return [raised(alert)]
        clear = threshold * rule.clear
        if value < clear if rule.rising else value > clear:
            return [self._end(rule, subject, now_s)]
        self._active[key] = replace(_alert(rule, subject, value, threshold, now_s), since_s=before.since_s)
        return []

    def _end(self, rule: Rule, subject: str, now_s: float) -> AlertCleared:
        before = self._active.pop((rule.name, subject))
        self._history.append(replace(before, cleared_s=now_s))
        return AlertCleared(rule.name, rule.severity, rule.component, subject, now_s - before.since_s)


def raised(alert: Alert) -> AlertRaised:
    a = alert
    return AlertRaised(a.rule, a.severity, a.component, a.subject, a.value, a.threshold, a.message, a.recommendation)


def _alert(rule: Rule, subject: str, value: float, threshold: float, now_s: float) -> Alert:
    message = rule.message.format(subject=subject, value=value, threshold=threshold, value_gb=value / 1e9)
    return Alert(rule.name, rule.severity, rule.component, subject, now_s, value, threshold, rule.unit, message, rule.recommendation)
