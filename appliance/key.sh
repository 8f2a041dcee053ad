# Part of build.sh: who signs upgrades. UPGRADE_KEY and UPGRADE_CERT (PEM) are the builder's; without them a key for development
# is made in target/upgrade-key. UPGRADE_KEYRING is what the appliance trusts, the certificate without.
if [ -z "${UPGRADE_KEY:-}${UPGRADE_CERT:-}" ]; then
    UPGRADE_KEY=target/upgrade-key/development.key UPGRADE_CERT=target/upgrade-key/development.cert
    if [ ! -e $UPGRADE_CERT ]; then
        mkdir -p target/upgrade-key
        (umask 077 && openssl req -x509 -newkey rsa:3072 -nodes -days 36500 -subj "/CN=vfw development" \
            -keyout $UPGRADE_KEY -out $UPGRADE_CERT.part 2>/dev/null)
        mv $UPGRADE_CERT.part $UPGRADE_CERT
    fi
    echo "build.sh: no UPGRADE_KEY and UPGRADE_CERT: signed for development; whoever has $UPGRADE_KEY can upgrade what is built here" >&2
fi
UPGRADE_KEYRING=${UPGRADE_KEYRING:-${UPGRADE_CERT:-}}
for file in "${UPGRADE_KEY:-}" "${UPGRADE_CERT:-}" "$UPGRADE_KEYRING"; do
    [ -r "$file" ] || { echo "build.sh: cannot read \`$file\`: UPGRADE_KEY, UPGRADE_CERT and UPGRADE_KEYRING name PEM files" >&2; exit 1; }
done
export UPGRADE_KEY UPGRADE_CERT
