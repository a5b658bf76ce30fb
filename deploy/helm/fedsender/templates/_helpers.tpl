{{- define "fedsender.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "fedsender.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "fedsender.labels" -}}
{{ include "fedsender.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "fedsender.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end }}

{{- define "fedsender.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "fedsender.name" .) }}
{{- end }}

{{- /* The restricted profile of the Pod Security Standards. */}}
{{- define "fedsender.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
# Who may read the mounted secret.
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "fedsender.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "fedsender.env" -}}
- {name: DATABASE_URL_FILE, value: {{ printf "/etc/fedsender/%s" .Values.secret.databaseURL | quote }}}
{{- with .Values.secret.leaseDatabaseURL }}
- {name: SENDER_LEASE_DATABASE_URL_FILE, value: {{ printf "/etc/fedsender/%s" . | quote }}}
{{- end }}
- {name: SENDER_SOURCE, value: {{ .Values.source | quote }}}
- {name: SENDER_LOG_FORMAT, value: {{ .Values.logFormat | quote }}}
- {name: SENDER_LOG_LEVEL, value: {{ .Values.logLevel | quote }}}
{{- range $name, $value := .Values.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{- /* The directory and not single files (subPath): those are never replaced. */}}
{{- define "fedsender.secretVolume" -}}
- name: secret
  secret:
    secretName: {{ .Values.secret.name | quote }}
    defaultMode: 0440
{{- end }}

{{- define "fedsender.secretMount" -}}
- {name: secret, mountPath: /etc/fedsender, readOnly: true}
{{- end }}
