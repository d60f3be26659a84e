# Packages that came after the image.
ARG BASE
FROM $BASE
ARG DEBIAN_FRONTEND=noninteractive
COPY debs /debs
RUN apt-get install --yes --no-install-recommends /debs/*.deb && rm -rf /debs
LABEL upgraded=yes
