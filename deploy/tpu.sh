#!/usr/bin/env bash
# Make a TPU pod slice by a queued resource, and train on all of its hosts.
#   SOURCE=REPOSITORY ZONE=us-east5-b TYPE=v6e-16 VERSION=v2-alpha-tpuv6e BUCKET=my-bucket deploy/tpu.sh configs/open.py open
# Run again after a preemption, with the same names: training goes on from the newest checkpoint.
set -euo pipefail

config=${1:?usage: deploy/tpu.sh CONFIG RUN [OVERRIDES...]}
run=${2:?a name for the run, its directory in the bucket}
zone=${ZONE:?the zone of the slice}
name=${NAME:-xrdjax}
type=${TYPE:-v6e-16}
version=${VERSION:-v2-alpha-tpuv6e}
bucket=${BUCKET:?a bucket, which every host mounts for the shared workdir}
source=${SOURCE:?what pip installs and where train.py comes from: the address of a git repository}

if ! gcloud compute tpus queued-resources describe "$name" --zone="$zone" >/dev/null 2>&1; then
  gcloud compute tpus queued-resources create "$name" --node-id="$name" --zone="$zone" \
    --accelerator-type="$type" --runtime-version="$version" --spot
fi
until [[ $(gcloud compute tpus queued-resources describe "$name" --zone="$zone" \
  --format='value(state.state)') == ACTIVE ]]; do
  sleep 30
done

on_every_host() {
  gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$1"
}

on_every_host "
  set -e
  [[ -d xrdjax ]] || git clone $(printf %q "$source") xrdjax
  [[ -d env ]] || python3 -m venv env
  env/bin/pip install --quiet -e xrdjax 'jax[tpu]'
  mkdir -p runs
  mountpoint -q runs || gcsfuse --implicit-dirs --rename-dir-limit=100000 $(printf %q "$bucket") runs"

# Every host runs the same command; JAX finds the others by the metadata of the slice.
on_every_host "cd xrdjax && exec ../env/bin/python train.py --config $(printf %q "$config") --workdir ../runs/$(printf %q "$run")$(printf ' %q' "${@:3}")"
