#!/usr/bin/env bash
# Generate the protobuf stubs of agent/proto below the folder $1.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?a folder}
.venv/bin/python -m grpc_tools.protoc -I. --python_out="$out" --mypy_out=quiet:"$out" agent/proto/*.proto
.venv/bin/python -m grpc_tools.protoc -I. --grpc_python_out="$out" agent/proto/ca.proto
