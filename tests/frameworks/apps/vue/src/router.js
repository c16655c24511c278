import { h } from 'vue';
import { createRouter, createWebHistory, RouterLink } from 'vue-router';

const page = (to) => ({ render: () => h(RouterLink, { id: 'next', to }, () => 'on') });

export const router = createRouter({
  history: createWebHistory(),
  routes: [
    { path: '/', component: page('/about'), meta: { title: 'Home' } },
    { path: '/about', component: page('/'), meta: { title: 'About' } },
  ],
});
router.afterEach((to) => {
  document.title = to.meta.title;
});
