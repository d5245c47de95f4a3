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
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "uws.jobsNamespace" -}}
{{ .Values.site.namespace | default .Release.Namespace }}
{{- end -}}

{{- define "uws.hasDatabase" -}}
{{- if or .Values.database.url .Values.database.existingSecret -}}yes{{- end -}}
{{- end -}}

{{/* The settings file: what follows from the values, and what the operator says beside or instead. */}}
{{- define "uws.settings" -}}
{{- $settings := dict "log_format" "json" "data" "/data" "auto_migrate" (not (include "uws.hasDatabase" .)) -}}
{{- if .Values.depot.url }}{{ $_ := set $settings "depot" .Values.depot.url }}{{ end -}}
{{- if .Values.applications }}{{ $_ := set $settings "applications" (list "/etc/uws-service/applications") }}{{ end -}}
{{- if .Values.site.enabled -}}
{{- $port := ternary "" (printf ":%v" .Values.service.port) (eq (int .Values.service.port) 80) -}}
{{- $own := printf "http://%s.%s.svc%s" (include "uws.name" .) .Release.Namespace $port -}}
{{- $site := dict "name" .Values.site.name "kind" "kubernetes" "namespace" (include "uws.jobsNamespace" .)
    "agent_url" (.Values.site.agentUrl | default $own) "agent_image" (include "uws.image" .)
    "image_pull_policy" .Values.image.pullPolicy "image_pull_secrets" .Values.image.pullSecrets
    "service_account" (printf "%s-job" (include "uws.name" .)) -}}
{{- if .Values.site.queue }}{{ $_ := set $site "queue" .Values.site.queue }}{{ end -}}
{{- $_ := set $settings "sites" (list (mergeOverwrite $site .Values.site.settings)) -}}
{{- end -}}
{{- toYaml (mergeOverwrite $settings .Values.settings) -}}
{{- end -}}
