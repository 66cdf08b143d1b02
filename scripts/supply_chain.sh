#!/usr/bin/env bash
# Lists what is installed: an SBOM (CycloneDX), licences, and known vulnerabilities if the service that knows them answers.
#
#   pip install 'tf-talkinghead[audit]' && bash scripts/supply_chain.sh OUT
#
# Writes OUT/sbom.cdx.json, OUT/licences.md and OUT/audit.json, of the packages beside PYTHON (default: python3, or
# .venv/bin/python in a checkout). Exits with 1 where a vulnerability is known.
set -euo pipefail

out=${1:?usage: bash scripts/supply_chain.sh OUT}
here=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$([ -x "$here/.venv/bin/python" ] && echo "$here/.venv/bin/python" || echo python3)}
for module in cyclonedx_py piplicenses pip_audit; do
  "$python" -c "import $module" 2>/dev/null || {
    echo "error: $python lacks $module: $python -m pip install 'tf-talkinghead[audit]', or cyclonedx-bom pip-audit pip-licenses" >&2
    exit 1
  }
done
mkdir -p "$out"

"$python" -m cyclonedx_py environment --output-format JSON --output-reproducible \
  --output-file "$out/sbom.cdx.json" "$python" 2>"$out/sbom.log" || { cat "$out/sbom.log" >&2; exit 1; }
rm "$out/sbom.log"
echo "wrote $out/sbom.cdx.json"

"$python" -m piplicenses --python="$("$python" -c 'import sys; print(sys.executable)')" --format=markdown \
  --with-urls --order=license >"$out/licences.md"
echo "wrote $out/licences.md"

# pip-audit reports no vulnerability for a package that its service has no data on, so the packages with data are counted.
rm -f "$out/audit.json"
timeout "${AUDIT_SECONDS:-120}" "$python" -m pip_audit --progress-spinner=off --format=json --output="$out/audit.json" \
  2>"$out/audit.log" || true
if [ -s "$out/audit.json" ]; then
  rm -f "$out/audit.log"
  exec "$python" - "$out/audit.json" <<'PYTHON'
import json, sys

packages = json.load(open(sys.argv[1]))["dependencies"]
found = [f"{one['name']} {one['version']}: {bug['id']}" for one in packages for bug in one.get("vulns", [])]
asked = sum("vulns" in one for one in packages)
print(*found, sep="\n", end="\n" if found else "")
if asked:
    print(f"wrote {sys.argv[1]}: {asked} of {len(packages)} packages audited, {len(found)} vulnerabilities known")
else:
    print(f"audit: not run, the service gave no data on any of {len(packages)} packages")
sys.exit(bool(found))
PYTHON
fi
echo "audit: not run, its service does not answer here ($(tail -n 1 "$out/audit.log" | cut -c1-100)...)"
rm -f "$out/audit.log"
