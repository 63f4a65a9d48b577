#!/bin/sh
# What must hold in the container image, asked from inside as its user: scripts/image_root.sh runs
# it on the image's root file system, and `docker run` can on the image. It ends with "image: fine".
set -eu

fail() {
  echo "image: $*" >&2
  exit 1
}

[ "$(id -u)" != 0 ] || fail "Expected a user without rights. Received: root."
for place in / /usr /opt/graft /opt/graft/venv/bin; do
  if touch "$place/graft-check" 2>/dev/null; then fail "Expected $place to be read-only."; fi
done
for tool in gcc cc ld make pip uv; do
  if command -v "$tool"; then fail "Expected no build tools. Received: $tool."; fi
done

# Where KFP's launcher, which runs as this user, puts artifacts and what a stage answers.
for place in /minio /gcs /s3 /tmp/kfp_outputs; do
  mkdir -p "$place/graft-check/artifacts" || fail "Expected to make folders in $place."
  rm -r "$place/graft-check"
done

mkdir -p /tmp/check/configs
cd /tmp/check
python -m pipeline.digits
cat >configs/digits.yaml <<'YAML'
name: digits
data: {source: ../demo/digits/photos}
base: {path: ../demo/digits/base.keras, preprocessing: rescale_0_1}
evaluate: {min_accuracy: 0.8}
push: {directory: ../demo/served/digits}
kubeflow: {volumes: [{claim: data, path: /tmp/check}]}
YAML
graft run configs/digits.yaml
graft verify demo/served/digits
graft kubeflow compile configs/digits.yaml --output package.yaml \
  --image graft@sha256:0000000000000000000000000000000000000000000000000000000000000000
# What a pod's command would be, and its one clear line where its input is wrong.
status=0
python -m pipeline.kubeflow.entrypoint --executor_class_path none.Executor \
  --json_serialized_invocation_args '{"outputs": {"outputFile": "/tmp/check/output.json"}}' || status=$?
[ "$status" = 1 ] || fail "Expected exit status 1 of a stage that does not exist. Received: $status."
[ ! -e output.json ] || fail "Expected no output of a stage that failed."
echo "image: fine"
