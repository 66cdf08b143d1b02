#!/usr/bin/env bash
# From a portrait to a talking head served over gRPC, in one command.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" = "--help" ] || [ "${1:-}" = "-h" ]; then
  cat <<'HELP'
Usage: bash scripts/quickstart.sh [--images=FILES] [--driver=VIDEO] [--person=NAME] [--weights=NAME] [--output=DIR]

Makes .venv (Python 3.11 to 3.13) and installs requirements.txt. Then makes an avatar with the shipped guided weights,
publishes it as a SavedModel, serves it over gRPC on a free port, drives it through the client, and writes into quickstart/

  talking_head.mp4     the person, driven
  contact_sheet.png    the input and frames of the result on one page
  models/              what TensorFlow Serving hosts

  --images=a.jpg,b.jpg   photos, folders or videos of one person (default: the portrait of Eileen Collins
                         that ships with scikit-image, public domain)
  --driver=VIDEO         whose motion to use (default: a scripted turn, nod, blink and talk)
  --person=NAME          what to call the avatar (default: collins, or the first image's name)
  --weights=guided|demo  guided: 256 px in seconds, without training (default); demo: the paper's form at 128 px,
                         fine-tuned for about a minute
  --steps=N              fine-tuning steps of --weights=demo, fewer is faster
  --output=DIR           where everything goes (default: quickstart)

Use pictures only of people who agreed to it. PYTHON=/path/to/python names the Python to make .venv with.
HELP
  exit 0
fi

. scripts/setup.sh
set_up
exec "$python" -m scripts.quickstart "$@"
