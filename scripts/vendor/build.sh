#!/bin/sh
# Build the scripts of others that the pages load, from the pinned versions of package-lock.json.
# Their output is committed: neither an installation nor a test needs Node.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
static=$here/../../uws_service/web/static
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/package.json" "$here/package-lock.json" "$here/editor.mjs" "$work"
cd "$work"
npm ci --silent --no-audit --no-fund
version() { node -p "require('./node_modules/$1/package.json').version"; }

npx esbuild editor.mjs --bundle --minify --format=esm --target=es2022 --legal-comments=none \
  --banner:js="/* CodeMirror 6 (view $(version @codemirror/view), lang-sql $(version @codemirror/lang-sql)); MIT, see licences.txt */" \
  --outfile="$static/editor.js"
{ echo "/* uPlot $(version uplot); MIT, see licences.txt */"; cat node_modules/uplot/dist/uPlot.iife.min.js; } > "$static/uplot.js"
{ echo "/* uPlot $(version uplot); MIT, see licences.txt */"; cat node_modules/uplot/dist/uPlot.min.css; } > "$static/uplot.css"
npx esbuild node_modules/sampjs/samp.js --minify --target=es2022 --define:module={} \
  --banner:js="/* sampjs $(version sampjs), Mark Taylor; CC0-1.0 */" --outfile="$static/samp.js"
{
  for name in @codemirror/view uplot; do
    echo "== $name $(version $name) and what belongs to it =="
    cat "node_modules/$name/LICENSE"
    echo
  done
  echo "== sampjs $(version sampjs) =="
  echo "Written by Mark Taylor; CC0 Public Domain Dedication, http://creativecommons.org/publicdomain/zero/1.0/"
} > "$static/licences.txt"
