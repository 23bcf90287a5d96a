"""Run directories: who a run is, who may write it, what it has recorded, and how to read it later.

    <runs_dir>/<dataset>-<method>-<mixer>-<encoder>-s<seed>-<hash8>/
        params.json  history.jsonl  checkpoint.pt  encoder.safetensors  head.safetensors  result.json

``result.json`` with ``"status": "ok"``, written last and atomically, is the only definition of finished.
"""

from mixlab.runs.directory import Run, create, identity_hash, run_name
from mixlab.runs.history import describe, parse_history, read_sealed, record_row, sealed, write_result
from mixlab.runs.lineage import STARTS, lineage, split_seed
from mixlab.runs.listing import UNTRAINED, demo, find, list_runs, suggestion
from mixlab.runs.lock import LOCK_WAIT_SECONDS, locked, writable
from mixlab.runs.surroundings import code_version, device_name, in_words, versions
from mixlab.runs.weights import load_encoder, load_head, save_weights

__all__ = ["LOCK_WAIT_SECONDS", "STARTS", "UNTRAINED", "Run", "code_version", "create", "demo", "describe",
           "device_name", "find", "identity_hash", "in_words", "lineage", "list_runs", "load_encoder", "load_head",
           "locked", "parse_history", "read_sealed", "record_row", "run_name", "save_weights", "sealed", "split_seed",
           "suggestion", "versions", "writable", "write_result"]
