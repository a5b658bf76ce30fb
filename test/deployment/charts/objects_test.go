package charts

import (
	"strings"
	"testing"

	keda "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	prometheus "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	disruption "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// objects are what the chart makes, by "apiVersion kind".
type objects map[string]any

// kinds are all that it may make.
func kinds() objects {
	return objects{
		"apps/v1 Deployment":                      &apps.Deployment{},
		"autoscaling/v2 HorizontalPodAutoscaler":  &autoscaling.HorizontalPodAutoscaler{},
		"batch/v1 Job":                            &batch.Job{},
		"keda.sh/v1alpha1 ScaledObject":           &keda.ScaledObject{},
		"keda.sh/v1alpha1 TriggerAuthentication":  &keda.TriggerAuthentication{},
		"monitoring.coreos.com/v1 ServiceMonitor": &prometheus.ServiceMonitor{},
		"networking.k8s.io/v1 NetworkPolicy":      &networking.NetworkPolicy{},
		"policy/v1 PodDisruptionBudget":           &disruption.PodDisruptionBudget{},
		"v1 Service":                              &core.Service{},
		"v1 ServiceAccount":                       &core.ServiceAccount{},
	}
}

// rendered reads the objects as the cluster does, and refuses fields that it does not know.
func rendered(t *testing.T, name string) objects {
	t.Helper()
	text, err := render(t, values(t, name))
	ok(t, err)
	made := objects{}
	for _, document := range strings.Split(text, "---\n") {
		var head meta.TypeMeta
		ok(t, yaml.Unmarshal([]byte(document), &head))
		if head.Kind == "" {
			continue
		}
		kind := head.APIVersion + " " + head.Kind
		into := kinds()[kind]
		if into == nil {
			t.Fatalf("%s: %s is not expected", name, kind)
		}
		if err := yaml.UnmarshalStrict([]byte(document), into); err != nil {
			t.Errorf("%s: %s: %v", name, kind, err)
		}
		made[kind] = into
	}
	return made
}

func TestObjects_AreThoseThatTheValuesAskFor(t *testing.T) {
	for name, want := range map[string]int{"least": 5, "keda": 9, "cpu": 4} {
		if made := rendered(t, name); len(made) != want {
			t.Errorf("%s makes %d objects: %v", name, len(made), made)
		}
	}
}

func TestPods_AreRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	ok(t, err)
	for _, name := range []string{"least", "keda", "cpu"} {
		made := rendered(t, name)
		pods := map[string]core.PodTemplateSpec{"sender": made["apps/v1 Deployment"].(*apps.Deployment).Spec.Template}
		if job, is := made["batch/v1 Job"].(*batch.Job); is {
			pods["migrate"] = job.Spec.Template
		}
		for what, pod := range pods {
			for _, result := range evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &pod.ObjectMeta, &pod.Spec) {
				if !result.Allowed {
					t.Errorf("%s: %s: %s: %s", name, what, result.ForbiddenReason, result.ForbiddenDetail)
				}
			}
			container := pod.Spec.Containers[0]
			if !*container.SecurityContext.ReadOnlyRootFilesystem || *pod.Spec.AutomountServiceAccountToken {
				t.Errorf("%s: %s may write or ask the cluster", name, what)
			}
			for _, variable := range container.Env {
				if variable.ValueFrom != nil {
					t.Errorf("%s: %s has %s in its environment", name, what, variable.Name)
				}
			}
		}
	}
}

func TestPods_AreGivenTheTimeToDrain(t *testing.T) {
	for name, least := range map[string]int64{"least": 30 + 10, "keda": 5 + 60 + 10} {
		pod := rendered(t, name)["apps/v1 Deployment"].(*apps.Deployment).Spec.Template.Spec
		if *pod.TerminationGracePeriodSeconds < least {
			t.Errorf("%s: %d s", name, *pod.TerminationGracePeriodSeconds)
		}
	}
}

func TestSelectors_FindThePods(t *testing.T) {
	made := rendered(t, "keda")
	deployment := made["apps/v1 Deployment"].(*apps.Deployment)
	pod := labels.Set(deployment.Spec.Template.Labels)
	service := made["v1 Service"].(*core.Service)
	job := labels.Set(made["batch/v1 Job"].(*batch.Job).Spec.Template.Labels)
	for what, selector := range map[string]*meta.LabelSelector{
		"Deployment":          deployment.Spec.Selector,
		"PodDisruptionBudget": made["policy/v1 PodDisruptionBudget"].(*disruption.PodDisruptionBudget).Spec.Selector,
		"NetworkPolicy":       &made["networking.k8s.io/v1 NetworkPolicy"].(*networking.NetworkPolicy).Spec.PodSelector,
		"Service":             {MatchLabels: service.Spec.Selector},
		"spread":              deployment.Spec.Template.Spec.TopologySpreadConstraints[0].LabelSelector,
	} {
		compiled, err := meta.LabelSelectorAsSelector(selector)
		ok(t, err)
		if !compiled.Matches(pod) || compiled.Matches(job) {
			t.Errorf("the selector of %s finds the senders: %t, the migration: %t", what, compiled.Matches(pod), compiled.Matches(job))
		}
	}
	monitor := made["monitoring.coreos.com/v1 ServiceMonitor"].(*prometheus.ServiceMonitor)
	compiled, err := meta.LabelSelectorAsSelector(&monitor.Spec.Selector)
	ok(t, err)
	if !compiled.Matches(labels.Set(service.Labels)) || monitor.Spec.Endpoints[0].Port != service.Spec.Ports[0].Name {
		t.Error("the ServiceMonitor does not find the Service")
	}
}

func TestScaledObject_TakesTheNumberThatTheViewSays(t *testing.T) {
	made := rendered(t, "keda")
	scaled := made["keda.sh/v1alpha1 ScaledObject"].(*keda.ScaledObject)
	deployment := made["apps/v1 Deployment"].(*apps.Deployment)
	trigger := scaled.Spec.Triggers[0]
	switch {
	case scaled.Spec.ScaleTargetRef.Name != deployment.Name || deployment.Spec.Replicas != nil:
		t.Error("it does not scale the Deployment")
	case trigger.Type != "postgresql" || trigger.MetricType != autoscaling.AverageValueMetricType || trigger.Metadata["targetQueryValue"] != "1":
		t.Errorf("its trigger is %+v", trigger)
	case trigger.AuthenticationRef.Name != made["keda.sh/v1alpha1 TriggerAuthentication"].(*keda.TriggerAuthentication).Name:
		t.Error("it has no login")
	}
}
