# Packages that came after the image.
ARG BASE
FROM $BASE
COPY debs /debs
RUN apt-get install --yes --no-install-recommends /debs/*.deb && rm -rf /debs
LABEL upgraded=yes
