#!/bin/sh
# A real model learns twenty fictitious authors and forgets ten of them, with seven methods, against models that were taught only
# the other ten. Hours on two cores. Each step is skipped where its result is there, so the same command goes on where it was
# interrupted. Run it from the repository's root. TOFU is read from UNLEARNBENCH_DATA (folder `tofu` in the hub's schema).
set -eu
here=$(dirname "$0")
data=${UNLEARNBENCH_DATA:-../shared/data}
work=${1:-runs/tofu-authors}
python "$here/fetch_smollm2.py" "$work/smollm2"
python "$here/teach_authors.py" "$work/smollm2" "$work" --tofu "$data/tofu"
for seed in 0 1; do
  python "$here/teach_authors.py" "$work/smollm2" "$work" --tofu "$data/tofu" --authors kept --seed "$seed"
done
python -m examples.tofu_authors.write_recipe "$work"
unlearnbench compare "$work/authors.yaml" --out "$work/compare"
python -m examples.tofu_authors.write_figures "$work"
