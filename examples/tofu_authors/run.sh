#!/bin/sh
# A real model learns twenty fictitious authors and forgets ten of them, with four methods. Hours on two cores, most of them
# for the search; it goes on where it was interrupted. Run it from the repository's root.
# TOFU and MMLU are read from UNLEARNBENCH_DATA (folders `tofu` and `mmlu` in the hub's schema).
set -eu
here=$(dirname "$0")
data=${UNLEARNBENCH_DATA:-../shared/data}
work=${1:-runs/tofu-authors}
python "$here/fetch_smollm2.py" "$work/smollm2"
[ -f "$work/model/model.safetensors" ] || python "$here/teach_authors.py" "$work/smollm2" "$work" --tofu "$data/tofu"
[ -f "$work/search/authors.yaml" ] || python -m examples.tofu_authors.search "$work" "$work/search"
unlearnbench compare "$work/search/authors.yaml" --methods rmu,llmu,scrub,ssd --seeds 0,1 \
  --checkpoint untaught="$work/smollm2" --benchmarks mcq,mmlu \
  --set mmlu.source="$data/mmlu" --set 'mmlu.subjects=[college_biology, virology, computer_security]' \
  --out "$work/compare"
