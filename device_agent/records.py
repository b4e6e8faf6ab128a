"""The agent's records in the state slots: changed by one pure function at a time, durably."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from attrs import evolve

from device_agent import codec
from device_agent.activation import ModelRecord, Records, record_of, with_record
from device_agent.slots import MAX_PAYLOAD_BYTES, Slots


class RecordFile:
    """The records, in memory and in the slots of a state folder; safe for use from several threads.

    `found` is False where no slot held any: a new state folder, or both slots were lost.
    """

    def __init__(self, state_dir: Path) -> None:
        self._lock = threading.Lock()
        self._slots = Slots(state_dir)
        self.found = self._slots.payload is not None
        self._records = Records()
        if self._slots.payload is not None:
            self._records = codec.from_json(self._slots.payload, Records, where="the agent's records")

    @property
    def models(self) -> dict[str, ModelRecord]:
        """Every record by name, as a copy."""
        return dict(self._records.models)

    def get(self, name: str) -> ModelRecord:
        """The record of a name, or the one that a new name begins with."""
        return record_of(self._records, name)

    @property
    def signed_floor(self) -> int:
        """The least that a signer's generation must exceed, for names that were forgotten."""
        return self._records.signed_floor

    def raise_signed_floor(self, floor: int) -> None:
        """Make that the least, if it is greater; durable when it returns."""
        with self._lock:
            if floor > self._records.signed_floor:
                self._save(evolve(self._records, signed_floor=floor))

    def put(self, name: str, record: ModelRecord) -> ModelRecord:
        """Replace a record; as `update`."""
        return self.update(name, lambda _: record)

    def update(self, name: str, change: Callable[[ModelRecord], ModelRecord]) -> ModelRecord:
        """Replace a record by what `change` makes of it; durable when it returns, unchanged when it raises.

        Raises:
            DiskFull: too many models.
            DeviceError: the medium refused it.
        """
        with self._lock:
            record = change(record_of(self._records, name))
            self._save(with_record(self._records, name, record))
            return record

    def _save(self, records: Records) -> None:
        records, payload = _fitting(records)
        self._slots.write(payload)
        self._records = records


def _fitting(records: Records) -> tuple[Records, bytes]:
    """The records and their JSON, with as much of the older history dropped as the slots need."""
    payload = codec.dumps(records).encode()
    while len(payload) > MAX_PAYLOAD_BYTES and any(r.history for r in records.models.values()):
        models = {
            name: evolve(record, history=record.history[(len(record.history) + 1) // 2 :])
            for name, record in records.models.items()
        }
        records = evolve(records, models=models)
        payload = codec.dumps(records).encode()
    return records, payload
