# The commands of the project. Each sets up what it needs in .venv.
PYTHON ?= python3
BIN := .venv/bin
PROTOC := $(BIN)/python -m grpc_tools.protoc -Iservice/pb=proto/unroll/v1

.PHONY: demo test lint serve bench generate lock clean
.DEFAULT_GOAL := demo

demo: .venv/installed  ## train, register, serve, predict, override, take back
	$(BIN)/unroll demo

test: .venv/installed  ## the test suite
	$(BIN)/pytest -n 2 --dist loadfile

serve: .venv/installed  ## train if there is no champion, then server and MLflow UI until Ctrl-C
	$(BIN)/unroll up

bench: .venv/installed  ## the benchmarks: ratios, taken side by side
	$(BIN)/python -m benchmarks

lint: .venv/installed  ## formatting, lint, types, protos, and whether generated code is current
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/buf lint
	$(BIN)/buf breaking --against proto/released.binpb
	$(PROTOC) --python_out=$(STALE) --pyi_out=$(STALE) --grpc_python_out=$(STALE) service/pb/unroll.proto
	diff -r -x __init__.py -x __pycache__ $(STALE)/service/pb service/pb
lint: STALE := $(shell mktemp -d)

generate: .venv/installed  ## service/pb from proto/, and docs/layers.md from the reader's tables
	$(PROTOC) --python_out=. --pyi_out=. --grpc_python_out=. service/pb/unroll.proto
	$(BIN)/python -c 'from service.model.supported import document; print(document(), end="")' > docs/layers.md

lock: .venv/installed  ## constraints.txt from what is installed
	$(BIN)/pip freeze --exclude-editable > constraints.txt

clean:
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
