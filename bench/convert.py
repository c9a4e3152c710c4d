"""A safetensors file in tensorizer's own format: ``python -m bench.convert`` with {"source", "target"} on stdin."""

from __future__ import annotations

import json
import sys


def main() -> None:
    job = json.load(sys.stdin)
    from safetensors.torch import load_file
    from tensorizer import TensorSerializer

    serializer = TensorSerializer(job["target"])
    serializer.write_state_dict(load_file(job["source"]))
    serializer.close()
    print(json.dumps({"converted": True}))


if __name__ == "__main__":
    main()
