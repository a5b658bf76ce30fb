# syntax=docker/dockerfile:1

# The image of `sender`. docs/deploy.md tells how to build it for several architectures and how to run it.
ARG GO=1.26
# glibc, OpenSSL's libcrypto, certificates, time zones, a user without rights, and nothing to run but what is put there. It is not
# distroless/static: signing takes a third of the time with libcrypto. docs/decisions/024 has the figures.
ARG BASE=gcr.io/distroless/base-debian12:nonroot

# Compiles for every architecture on that of whoever builds.
FROM --platform=$BUILDPLATFORM docker.io/library/golang:${GO} AS build
WORKDIR /src
ENV CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOTOOLCHAIN=local
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS=linux TARGETARCH VERSION=unknown
RUN GOOS=${TARGETOS} GOARCH=${TARGETARCH} go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /sender ./cmd/sender

FROM ${BASE}
ARG VERSION=unknown REVISION=unknown
LABEL org.opencontainers.image.title="fedsender" \
      org.opencontainers.image.description="Delivers ActivityPub activities from a Postgres database" \
      org.opencontainers.image.source="https://github.com/fedsender/fedsender" \
      org.opencontainers.image.documentation="https://github.com/fedsender/fedsender/blob/main/docs/deploy.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /sender /usr/local/bin/sender
COPY LICENSE /usr/share/doc/fedsender/LICENSE
# A number, so that Kubernetes can see that it is not root's. Nothing is written anywhere: the root may be read-only.
USER 65532:65532
# Within a container the page, health and metrics are for its neighbours; what changes something needs the token all the same.
ENV SENDER_ADMIN_ADDR=:9464
EXPOSE 9464
# The process lives. It does not ask whether it can deliver: a restart mends no database.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s CMD ["/usr/local/bin/sender", "healthcheck"]
# SIGTERM; give it more than SENDER_SHUTDOWN_TIMEOUT (30 s): docker stop --time 45.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/sender"]
CMD ["run"]
