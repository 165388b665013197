{{/* The names and labels of what the chart makes. */}}

{{- define "polarway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* 40 characters leave room for the endings below within the 63 of a label. */}}
{{- define "polarway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "polarway.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* dict "root" $ "role" "scheduler" */}}
{{- define "polarway.rolename" -}}
{{- printf "%s-%s" (include "polarway.fullname" .root) .role -}}
{{- end -}}

{{- define "polarway.selector" -}}
app.kubernetes.io/name: {{ include "polarway.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{- define "polarway.labels" -}}
{{ include "polarway.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* metadata of an object: name, labels, annotations. dict "root" "role" ["name"] ["labels"] ["annotations"] */}}
{{- define "polarway.metadata" -}}
name: {{ .name | default (include "polarway.rolename" .) }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "polarway.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge dict (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- tpl (toYaml .) $.root | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "polarway.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "polarway.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* dict "image" .Values.image "tag" the default tag */}}
{{- define "polarway.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .tag) -}}
{{- end -}}
{{- end -}}

{{/* What a pod carries that may speak to the servers' client ports. */}}
{{- define "polarway.clientLabel" -}}
{{- printf "%s-client" (include "polarway.fullname" .) -}}
{{- end -}}
