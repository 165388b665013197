{{/* What the pods of all roles have in common. Each takes dict "root" "role". */}}

{{/* Without versions: another version of the chart alone is no reason to replace a pod. */}}
{{- define "polarway.podLabels" -}}
{{ include "polarway.selector" . }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "polarway.podMetadata" -}}
{{- $values := index .root.Values .role -}}
labels:
  {{- include "polarway.podLabels" . | nindent 2 }}
  {{- if eq .root.Values.workloadIdentity.provider "azure" }}
  azure.workload.identity/use: "true"
  {{- end }}
  {{- with merge dict $values.podLabels .root.Values.podLabels }}
  {{- tpl (toYaml .) $.root | nindent 2 }}
  {{- end }}
annotations:
  # A changed file replaces the pods.
  checksum/config: {{ include "polarway.configFile" . | sha256sum }}
  {{- with merge dict $values.podAnnotations .root.Values.podAnnotations }}
  {{- tpl (toYaml .) $.root | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Pods of one role apart from each other, over nodes and zones, as far as there are some. */}}
{{- define "polarway.spread" -}}
{{- $values := index .root.Values .role -}}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- if $values.affinity }}
affinity:
  {{- tpl (toYaml $values.affinity) .root | nindent 2 }}
{{- else if eq $values.podAntiAffinity "hard" }}
affinity:
  podAntiAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "polarway.selector" . | nindent 12 }}
{{- else if eq $values.podAntiAffinity "soft" }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "polarway.selector" . | nindent 14 }}
{{- end }}
topologySpreadConstraints:
{{- if $values.topologySpreadConstraints }}
  {{- tpl (toYaml $values.topologySpreadConstraints) .root | nindent 2 }}
{{- else }}
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "polarway.selector" . | nindent 8 }}
{{- end }}
{{- end -}}

{{/* The start of a pod's specification. */}}
{{- define "polarway.podHead" -}}
serviceAccountName: {{ include "polarway.serviceAccountName" .root }}
# No process speaks to Kubernetes. Tokens for workload identity come by other volumes.
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- include "polarway.spread" . }}
{{- end -}}

{{- define "polarway.imageOf" -}}
image: {{ include "polarway.image" (dict "image" .root.Values.image "tag" .root.Chart.AppVersion) }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- toYaml .root.Values.containerSecurityContext | nindent 2 }}
{{- end -}}

{{/* Health of a process alone decides whether it lives; what it needs of others, whether it is asked. */}}
{{- define "polarway.probes" -}}
{{- $probes := (index .root.Values .role).probes -}}
{{- $scheme := ternary ", scheme: HTTPS" "" .root.Values.tls.enabled -}}
startupProbe:
  httpGet: {path: /healthz, port: http{{ $scheme }}}
  {{- toYaml $probes.startup | nindent 2 }}
livenessProbe:
  httpGet: {path: /healthz, port: http{{ $scheme }}}
  {{- toYaml $probes.liveness | nindent 2 }}
readinessProbe:
  httpGet: {path: /readyz, port: http{{ $scheme }}}
  {{- toYaml $probes.readiness | nindent 2 }}
{{- end -}}

{{/* A pause before SIGTERM, in which the Services forget the pod. */}}
{{- define "polarway.lifecycle" -}}
{{- with (index .root.Values .role).preStopSeconds }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ int . }}
{{- end }}
{{- end -}}

{{- define "polarway.mounts" -}}
{{- $values := index .root.Values .role -}}
- name: config
  mountPath: /etc/polarway/config
  readOnly: true
- name: data
  mountPath: {{ include "polarway.dataDir" .root }}
- name: tmp
  mountPath: /tmp
{{- if .root.Values.sharedVolume.enabled }}
- name: shared
  mountPath: {{ .root.Values.sharedVolume.mountPath }}
{{- end }}
{{- if .root.Values.objectStore.gcs.existingSecret }}
- name: gcs
  mountPath: /etc/polarway/gcs
  readOnly: true
{{- end }}
{{- if and .root.Values.identity.existingSecret (ne .role "executor") }}
# The directory, not the file: it follows the secret when that changes.
- name: identity
  mountPath: /etc/polarway/identity
  readOnly: true
{{- end }}
{{- if .root.Values.tls.enabled }}
# Directories here, too, for renewed certificates.
- name: tls
  mountPath: /etc/polarway/tls
  readOnly: true
{{- if .root.Values.tls.public.existingSecret }}
- name: tls-public
  mountPath: /etc/polarway/tls-public
  readOnly: true
{{- end }}
{{- end }}
{{- if and (not .root.Values.etcd.enabled) .root.Values.externalEtcd.tls.existingSecret }}
- name: etcd-tls
  mountPath: /etc/polarway/etcd-tls
  readOnly: true
{{- end }}
{{- if eq .role "ingest" }}
{{- if $values.feeds.existingSecret }}
- name: feed-secrets
  mountPath: /etc/polarway/feed-secrets
  readOnly: true
{{- end }}
{{- if $values.feeds.certificatesSecret }}
- name: feed-certificates
  mountPath: /etc/polarway/feed-certificates
  readOnly: true
{{- end }}
{{- end }}
{{- with concat .root.Values.extraVolumeMounts $values.extraVolumeMounts }}
{{ tpl (toYaml .) $.root }}
{{- end }}
{{- end -}}

{{/* All but the role's data. */}}
{{- define "polarway.volumes" -}}
{{- $values := index .root.Values .role -}}
- name: config
  configMap:
    name: {{ include "polarway.fullname" .root }}-config
    items:
      - key: {{ .role }}.toml
        path: {{ .role }}.toml
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
{{- if .root.Values.sharedVolume.enabled }}
- name: shared
  persistentVolumeClaim:
    claimName: {{ .root.Values.sharedVolume.existingClaim | default (printf "%s-shared" (include "polarway.fullname" .root)) }}
{{- end }}
{{- with .root.Values.objectStore.gcs.existingSecret }}
- name: gcs
  secret:
    secretName: {{ tpl . $.root }}
{{- end }}
{{- if and .root.Values.identity.existingSecret (ne .role "executor") }}
- name: identity
  secret:
    secretName: {{ tpl .root.Values.identity.existingSecret .root }}
    items:
      - key: {{ .root.Values.identity.tokensKey }}
        path: {{ .root.Values.identity.tokensKey }}
{{- end }}
{{- if .root.Values.tls.enabled }}
- name: tls
  secret:
    secretName: {{ include "polarway.tlsSecret" .root }}
    # For the group of the pod (`fsGroup`), and nobody else.
    defaultMode: 0440
    items:
      - {key: tls.crt, path: tls.crt}
      - {key: tls.key, path: tls.key}
      - {key: ca.crt, path: ca.crt}
{{- with .root.Values.tls.public }}
{{- if .existingSecret }}
- name: tls-public
  secret:
    secretName: {{ tpl .existingSecret $.root }}
    defaultMode: 0440
    items:
      - {key: tls.crt, path: tls.crt}
      - {key: tls.key, path: tls.key}
      {{- with .caKey }}
      # For clients in the pod.
      - {key: {{ . }}, path: ca.crt}
      {{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if and (not .root.Values.etcd.enabled) .root.Values.externalEtcd.tls.existingSecret }}
- name: etcd-tls
  secret:
    secretName: {{ tpl .root.Values.externalEtcd.tls.existingSecret .root }}
{{- end }}
{{- if eq .role "ingest" }}
{{- with $values.feeds.existingSecret }}
- name: feed-secrets
  secret:
    secretName: {{ tpl . $.root }}
{{- end }}
{{- with $values.feeds.certificatesSecret }}
- name: feed-certificates
  secret:
    secretName: {{ tpl . $.root }}
{{- end }}
{{- end }}
{{- with concat .root.Values.extraVolumes $values.extraVolumes }}
{{ tpl (toYaml .) $.root }}
{{- end }}
{{- end -}}

{{/* A claim for a role's data. dict "root" "role" "labels" "size" "persistence" */}}
{{- define "polarway.claimSpec" -}}
accessModes: [ReadWriteOnce]
{{- with .storageClass }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ .size }}
{{- end -}}
