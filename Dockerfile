# One image for the API, the workers and the migrations; the command says which.
FROM python:3.12-slim AS build
WORKDIR /app
COPY requirements/runtime.lock requirements/runtime.lock
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.lock \
    && /venv/bin/pip install --no-cache-dir "setuptools>=80"
COPY . .
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 perdure
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH LITELLM_LOCAL_MODEL_COST_MAP=True PYTHONUNBUFFERED=1
USER perdure
WORKDIR /home/perdure
ENTRYPOINT ["perdure"]
CMD ["api", "--host", "0.0.0.0"]
