{{- define "uws.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "uws.labels" -}}
app.kubernetes.io/name: uws-service
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "uws.selector" -}}
app.kubernetes.io/name: uws-service
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: service
{{- end -}}

{{- define "uws.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "uws.jobsNamespace" -}}
{{ .Values.site.namespace | default .Release.Namespace }}
{{- end -}}

{{- define "uws.hasDatabase" -}}
{{- if or .Values.database.url .Values.database.existingSecret -}}yes{{- end -}}
{{- end -}}

{{/* Whether anything is kept in the folder /data: SQLite, or the folder depot. */}}
{{- define "uws.hasVolume" -}}
{{- if and .Values.persistence.enabled (not (and (include "uws.hasDatabase" .) .Values.depot.url)) -}}yes{{- end -}}
{{- end -}}

{{/* The address that callers use: the Ingress' or the Gateway's. A proxy's own word for it would need trusted_proxies. */}}
{{- define "uws.baseUrl" -}}
{{- if and .Values.ingress.enabled .Values.ingress.host -}}
{{- $scheme := ternary "https" "http" (or .Values.ingress.https (ne .Values.ingress.tlsSecret "")) -}}
{{- printf "%s://%s%s" $scheme .Values.ingress.host (.Values.ingress.path | trimSuffix "/") -}}
{{- else if and .Values.gateway.enabled .Values.gateway.hostnames -}}
{{- printf "%s://%s" (ternary "https" "http" .Values.gateway.https) (first .Values.gateway.hostnames) -}}
{{- end -}}
{{- end -}}

{{/* The settings file: what follows from the values, and what the operator says beside or instead. */}}
{{- define "uws.settings" -}}
{{- $settings := dict "log_format" "json" "data" "/data" "auto_migrate" (not (include "uws.hasDatabase" .)) -}}
{{- if .Values.depot.url }}{{ $_ := set $settings "depot" .Values.depot.url }}{{ end -}}
{{- with include "uws.baseUrl" . }}{{ $_ := set $settings "base_url" . }}{{ end -}}
{{- if and .Values.serviceMonitor.enabled .Values.serviceMonitor.from -}}
{{- $_ := set $settings "auth" (dict "metrics_from" (concat (list "127.0.0.1" "::1") .Values.serviceMonitor.from)) -}}
{{- end -}}
{{- if .Values.applications }}{{ $_ := set $settings "applications" (list "/etc/uws-service/applications") }}{{ end -}}
{{- if .Values.site.enabled -}}
{{- $site := dict "name" .Values.site.name "kind" "kubernetes" "namespace" (include "uws.jobsNamespace" .)
    "agent_url" (include "uws.agentUrl" .) "agent_image" (include "uws.image" .)
    "image_pull_policy" .Values.image.pullPolicy "image_pull_secrets" .Values.image.pullSecrets
    "service_account" (printf "%s-job" (include "uws.name" .)) -}}
{{- if .Values.site.queue }}{{ $_ := set $site "queue" .Values.site.queue }}{{ end -}}
{{- $_ := set $settings "sites" (list (mergeOverwrite $site .Values.site.settings)) -}}
{{- end -}}
{{- toYaml (mergeOverwrite $settings .Values.settings) -}}
{{- end -}}

{{/* Where agents reach the service: what the operator says, the Ingress with TLS, or the Service. */}}
{{- define "uws.agentUrl" -}}
{{- if .Values.site.agentUrl -}}
{{- .Values.site.agentUrl -}}
{{- else if and .Values.ingress.enabled (or .Values.ingress.tlsSecret .Values.ingress.https) (not .Values.site.allowHttp) -}}
{{- include "uws.baseUrl" . -}}
{{- else -}}
{{- $port := ternary "" (printf ":%v" .Values.service.port) (eq (int .Values.service.port) 80) -}}
{{- printf "http://%s.%s.svc%s" (include "uws.name" .) .Release.Namespace $port -}}
{{- end -}}
{{- end -}}

{{/* Bytes of a size such as 512Mi, 4Gi, 1GiB, 500MB or 1e9. */}}
{{- define "uws.bytes" -}}
{{- $size := upper (toString .) | trimSuffix "B" -}}
{{- $units := dict "" 1.0 "K" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "KI" 1024.0 "MI" 1048576.0 "GI" 1073741824.0
    "TI" 1099511627776.0 "PI" 1125899906842624.0 -}}
{{- $unit := regexFind "[KMGTP]I?$" $size -}}
{{- mulf (trimSuffix $unit $size | trim | float64) (get $units $unit) -}}
{{- end -}}

{{/* Refuse what would be open, readable on its way, or ended by the first large query. */}}
{{- define "uws.check" -}}
{{- $auth := dig "auth" dict .Values.settings -}}
{{- $hasIssuers := gt (len (dig "issuers" list $auth)) 0 -}}
{{- range .Values.env }}{{ if hasPrefix "UWS_AUTH__ISSUERS" .name }}{{ $hasIssuers = true }}{{ end }}{{ end -}}
{{- if and (not $hasIssuers) (not .Values.anonymous) -}}
{{- fail "nobody is asked who he is: name issuers of tokens in settings.auth.issuers, or set anonymous: true to let everybody run jobs" -}}
{{- end -}}
{{- if and $hasIssuers .Values.anonymous -}}
{{- fail "anonymous: true contradicts settings.auth.issuers; to open applications to unknown callers set settings.auth.access.anonymous" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (not .Values.serviceMonitor.from) (not (dig "metrics_from" list $auth)) -}}
{{- fail "Prometheus would get 401: name its addresses or networks in serviceMonitor.from, such as the cluster's network of pods" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (not (and (include "uws.hasDatabase" .) .Values.depot.url)) -}}
{{- fail "autoscaling makes several replicas, which need PostgreSQL (database.url or database.existingSecret) and S3 (depot.url)" -}}
{{- end -}}
{{- $sites := list -}}
{{- with fromYaml (include "uws.settings" .) }}{{ $sites = dig "sites" list . }}{{ end -}}
{{- range $sites -}}
{{- $url := get . "agent_url" | default "" -}}
{{- if hasPrefix "http:" (lower $url) -}}
{{- if gt (len (dig "data_access" list $auth)) 0 -}}
{{- fail (printf "agents get tokens for data (settings.auth.data_access) over %s: set site.agentUrl to https://…" $url) -}}
{{- end -}}
{{- if not $.Values.site.allowHttp -}}
{{- fail (printf "agents would show their tokens over %s: set site.agentUrl to https://…, or site.allowHttp: true where nobody can read the cluster's traffic" $url) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $limit := dig "limits" "memory" "" .Values.resources -}}
{{- $processes := dig "query_processes" 2 .Values.settings | float64 -}}
{{- $need := 0.0 -}}
{{- range $file, $text := .Values.applications -}}
{{- $application := fromYaml $text -}}
{{- if eq (get $application "protocol" | toString) "tap" -}}
{{- $memory := include "uws.bytes" (dig "resources" "memory" "2GiB" $application) | float64 -}}
{{- $need = addf $need (mulf $processes (addf $memory 536870912.0)) -}}
{{- end -}}
{{- end -}}
{{- if and $limit (gt $need 0.0) -}}
{{- $total := addf $need 1073741824.0 -}}
{{- if gt $total (include "uws.bytes" $limit | float64) -}}
{{- fail (printf "resources.limits.memory: %v is below the %.1fGi that synchronous queries and the service may take (settings.query_processes × resources.memory of the TAP applications and 512MiB, and 1Gi)" $limit (divf $total 1073741824.0)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
