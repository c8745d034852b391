#!/bin/sh
# A real model learns twenty fictitious authors and forgets ten of them. About 40 minutes on two cores.
# TOFU and MMLU are read from UNLEARNBENCH_DATA (folders `tofu` and `mmlu` in the hub's schema).
set -eu
here=$(dirname "$0")
data=${UNLEARNBENCH_DATA:-../shared/data}
work=${1:-runs/tofu-authors}
python "$here/fetch_smollm2.py" "$work/smollm2"
[ -f "$work/model/model.safetensors" ] || python "$here/teach_authors.py" "$work/smollm2" "$work" --tofu "$data/tofu"
unlearnbench compare --model "$work/model" --methods rmu --seeds 0,1 \
  --checkpoint untaught="$work/smollm2" \
  --forget authors="$work/forget.jsonl" --retain "$work/retain.jsonl" \
  --benchmarks mcq,mmlu \
  --set mcq.source="$work/questions.jsonl" --set mcq.scoring=cloze \
  --set mmlu.source="$data/mmlu" --set 'mmlu.subjects=[college_biology, virology, computer_security]' \
  --set rmu.coefficient=200 --set rmu.alpha=10 --set rmu.lr=2e-3 --set rmu.masked=true \
  --set rmu.steps=80 --set rmu.batch_size=8 --set rmu.order=shuffled \
  --out "$work/compare"
