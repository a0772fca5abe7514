#!/bin/sh
# Greets, over standard input and output. The host writes `id` before `method` and escapes nothing in either, so that sed
# finds both.
member() {
    printf '%s\n' "$1" | sed -n "s/^{[^{]*\"$2\":\"\{0,1\}\([^\",}]*\).*/\1/p"
}

IFS= read -r launch || exit 1
inside=${launch#*'"params":'}
id=$(member "$inside" plugin_id)
generation=$(member "$inside" generation)
token=$(member "$inside" token)
identity="\"plugin_id\":\"$id\",\"generation\":$generation,\"version\":\"1.0.0\",\"capabilities\":[\"greet\"]"
printf '{"jsonrpc":"2.0","id":1,"method":"host.hello","params":{"token":"%s","protocols":[1],%s}}\n' "$token" "$identity"
IFS= read -r answer || exit 1
case $answer in *'"error":'*) echo "refused: $answer" >&2; exit 1 ;; esac
while IFS= read -r frame; do
    id=$(member "$frame" id)
    method=$(member "$frame" method)
    case $method in
    plugin.capabilities) answer="\"result\":{$identity}" ;;
    plugin.heartbeat) answer='"result":{"status":"healthy"}' ;;
    plugin.shutdown) answer='"result":{}' ;;
    greet)
        name=$(printf '%s\n' "$frame" | sed -n 's/.*"name":"\([^"]*\)".*/\1/p')
        answer="\"result\":\"Hello, ${name:-you}!\""
        ;;
    *) answer="\"error\":{\"code\":-32601,\"message\":\"there is no $method\"}" ;;
    esac
    [ -z "$id" ] || printf '{"jsonrpc":"2.0","id":%s,%s}\n' "$id" "$answer"
    [ "$method" != plugin.shutdown ] || exit 0
done
