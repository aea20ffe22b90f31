"""Write the structural schemas of our kinds down, where programs read them: `python tools/gen_serving.py`.

After every change of the models in src/forebay/api/ (serving.py, isvc.py, pods.py, states.py, structural.py).
"""

from __future__ import annotations

import json
from pathlib import Path

from forebay.api import ours


def main() -> None:
    target = Path(ours.__file__).parent / ours.TABLE
    made = ours.made()
    lines = [f"{json.dumps(kind)}: {json.dumps(schema)}" for kind, schema in made.pop("schemas").items()]
    head = "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in made.items())
    target.write_text("{" + head + '"schemas": {\n' + ",\n".join(lines) + "\n}}\n")


if __name__ == "__main__":
    main()
